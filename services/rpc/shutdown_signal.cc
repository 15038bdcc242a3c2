#include "services/rpc/shutdown_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/time/clock.h"
#include "services/base/check.h"

namespace tessera::rpc {
namespace {

sigset_t ShutdownSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

ShutdownSignal::ShutdownSignal() {
  const sigset_t set = ShutdownSet();
  TESSERA_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  signal(SIGPIPE, SIG_IGN);
  fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  TESSERA_CHECK(fd_ >= 0) << "signalfd, errno " << errno;
}

ShutdownSignal::~ShutdownSignal() {
  close(fd_);
  const sigset_t set = ShutdownSet();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

int ShutdownSignal::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    signalfd_siginfo info;
    if (read(fd_, &info, sizeof info) == sizeof info) return static_cast<int>(info.ssi_signo);
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return 0;
    pollfd entry{fd_, POLLIN, 0};
    // A minute at most, so that the milliseconds fit poll's argument.
    const absl::Duration slice = std::min(left, absl::Minutes(1));
    poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(slice) + 1));
  }
}

}  // namespace tessera::rpc
