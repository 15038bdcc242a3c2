// A view of the cluster as text for people.
#ifndef TESSERA_SERVICES_CLI_TOP_CLUSTER_TEXT_H_
#define TESSERA_SERVICES_CLI_TOP_CLUSTER_TEXT_H_

#include <cstddef>
#include <string>

#include "services/cli/top/cluster_frame.h"

namespace tessera::cli {

struct ClusterTextStyle {
  size_t columns = 80;  // no line is wider
  size_t rows = 0;      // most lines, at least 1; 0: as many as there are
  bool color = false;   // escape codes for colours
};

// A summary, one line per pool and one per rank; each line ends with a line break. A rate that is
// not known is "-". If the last call failed, the text says so, and shows the last view with its
// age. Pure.
std::string ClusterText(const ClusterFrame& frame, const ClusterTextStyle& style);

// One line of JSON without a line break: time, router, epoch, pools, ranks; or time, router, error
// if the last call failed. A rate that is not known is null. Pure.
std::string ClusterJson(const ClusterFrame& frame);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_TOP_CLUSTER_TEXT_H_
