// How a child process tells its supervisor that it serves, and where.
#ifndef TESSERA_SERVICES_RPC_READY_LINE_H_
#define TESSERA_SERVICES_RPC_READY_LINE_H_

#include <string>

#include "absl/status/status.h"

namespace tessera::rpc {

// Writes one line of JSON, {"address":"127.0.0.1:7400"} and, if there is one, "metrics_address", to
// the inherited descriptor, and closes it. fd -1: nothing to do. UNAVAILABLE: the supervisor is
// gone.
absl::Status WriteReadyLine(int fd, const std::string& address,
                            const std::string& metrics_address = "");

}  // namespace tessera::rpc

#endif  // TESSERA_SERVICES_RPC_READY_LINE_H_
