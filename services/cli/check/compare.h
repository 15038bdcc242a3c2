// Distances between what we computed and what the reference did. A size that differs is an infinite
// distance.
#ifndef TESSERA_SERVICES_CLI_CHECK_COMPARE_H_
#define TESSERA_SERVICES_CLI_CHECK_COMPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace tessera::check {

double MaxAbsoluteError(absl::Span<const float> ours, absl::Span<const double> theirs);

// The smallest cosine similarity of rows of `cols` values. Two zero rows are alike.
double MinCosine(absl::Span<const float> ours, absl::Span<const double> theirs, int64_t cols);

// Positions where the two differ, those that only one has included.
int64_t CountMismatches(absl::Span<const int32_t> ours, absl::Span<const int32_t> theirs);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_COMPARE_H_
