// SIGINT and SIGTERM as calls on a thread of their own, where any code may run.
#ifndef TESSERA_SERVICES_CLI_SIGNAL_WATCHER_H_
#define TESSERA_SERVICES_CLI_SIGNAL_WATCHER_H_

#include <functional>
#include <thread>

namespace tessera::cli {

class SignalWatcher {
 public:
  // count: 1 for the first signal, 2 for the second, …
  using Handler = std::function<void(int signal_number, int count)>;

  // Blocks both signals in the calling thread and in all threads that it starts later: make it
  // before the first of them.
  explicit SignalWatcher(Handler handler);
  ~SignalWatcher();  // the handler is not called any more; the signals stay blocked
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void Loop(const Handler& handler);

  int signal_fd_;
  int stop_fd_;
  std::thread thread_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_SIGNAL_WATCHER_H_
