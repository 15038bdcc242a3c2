#include "services/cli/signal_watcher.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "services/base/check.h"

namespace tessera::cli {

SignalWatcher::SignalWatcher(Handler handler) {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGINT);
  sigaddset(&watched, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  signal_fd_ = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  TESSERA_CHECK(signal_fd_ >= 0 && stop_fd_ >= 0) << "no descriptor left";
  thread_ = std::thread([this, handler = std::move(handler)] { Loop(handler); });
}

SignalWatcher::~SignalWatcher() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_fd_, &one, sizeof(one));
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void SignalWatcher::Loop(const Handler& handler) {
  int count = 0;
  while (true) {
    pollfd watched[] = {{stop_fd_, POLLIN, 0}, {signal_fd_, POLLIN, 0}};
    poll(watched, 2, -1);
    if (watched[0].revents != 0) {
      return;
    }
    signalfd_siginfo info;
    while (read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      handler(static_cast<int>(info.ssi_signo), ++count);
    }
  }
}

}  // namespace tessera::cli
