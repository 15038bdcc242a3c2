// SIGTERM and SIGINT as something to wait for, instead of a handler that may do next to nothing.
#ifndef TESSERA_SERVICES_RPC_SHUTDOWN_SIGNAL_H_
#define TESSERA_SERVICES_RPC_SHUTDOWN_SIGNAL_H_

#include "absl/time/time.h"

namespace tessera::rpc {

// Construct it before the process starts threads: they inherit the blocked signals. At most one at
// a time. SIGPIPE is ignored as well.
class ShutdownSignal {
 public:
  ShutdownSignal();
  ~ShutdownSignal();  // the signals have their former effect again in this thread
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

  // The signal's number, or 0 when the time is up. Each call takes one signal: a second one is told
  // apart. InfiniteDuration waits for ever.
  int Wait(absl::Duration timeout);

 private:
  int fd_ = -1;
};

}  // namespace tessera::rpc

#endif  // TESSERA_SERVICES_RPC_SHUTDOWN_SIGNAL_H_
