#include "services/cli/supervisor/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::supervisor {
namespace {

constexpr size_t kMaxLineBytes = 64 << 10;

absl::Status FromErrno(int error, const std::string& what) {
  const std::string text = absl::StrCat(what, ": ", strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(text);
    case EACCES:
    case ENOEXEC:
      return absl::PermissionDeniedError(text);
    default:
      return absl::ResourceExhaustedError(text);
  }
}

struct Pipe {
  OwnedFd read_end;
  OwnedFd write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) {
    return FromErrno(errno, "cannot make a pipe");
  }
  return Pipe{OwnedFd(fds[0]), OwnedFd(fds[1])};
}

// What the child needs after fork, made before it: between fork and exec only async-signal-safe
// calls are allowed.
struct Launch {
  const char* program;
  char* const* argv;
  pid_t parent;
  int null_fd;
  int stdout_fd;
  int stderr_fd;
  int ready_fd;
  int error_fd;  // receives errno if exec fails
};

void ResetSignals() {
  for (int number = 1; number < NSIG; ++number) {
    signal(number, SIG_DFL);  // fails for a few numbers, which is fine
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void RunChild(const Launch& launch) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launch.parent) {  // the parent died before the kernel knew of the wish
    _exit(127);
  }
  ResetSignals();
  // Out of the way of the low numbers first: an inherited descriptor may have one of them.
  const int ready = fcntl(launch.ready_fd, F_DUPFD_CLOEXEC, 10);
  const int error = fcntl(launch.error_fd, F_DUPFD_CLOEXEC, 10);
  dup2(launch.null_fd, STDIN_FILENO);
  if (launch.stdout_fd >= 0) {
    dup2(launch.stdout_fd, STDOUT_FILENO);
  }
  if (launch.stderr_fd >= 0) {
    dup2(launch.stderr_fd, STDERR_FILENO);
  }
  dup2(ready, kReadyFd);
  for (int fd = kReadyFd + 1; fd < error; ++fd) {
    if (fd != ready) {
      fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  }
  close_range(static_cast<unsigned>(error) + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  execv(launch.program, launch.argv);
  const int exec_error = errno;
  [[maybe_unused]] const ssize_t written = write(error, &exec_error, sizeof(exec_error));
  _exit(127);
}

}  // namespace

std::string ExitStatus::Describe() const {
  if (signal != 0) {
    return absl::StrCat("signal ", signal, " (", strsignal(signal), ")");
  }
  return absl::StrCat("exit code ", code);
}

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

int OwnedFd::Release() { return std::exchange(fd_, -1); }

void OwnedFd::Reset() {
  if (fd_ >= 0) {
    close(fd_);
    fd_ = -1;
  }
}

absl::StatusOr<ChildProcess> ChildProcess::Start(const ChildOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(Pipe ready, MakePipe());
  TESSERA_ASSIGN_OR_RETURN(Pipe error, MakePipe());
  const OwnedFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) {
    return FromErrno(errno, "cannot open /dev/null");
  }
  std::vector<char*> argv;
  argv.push_back(const_cast<char*>(options.shown_as.empty() ? options.program.c_str()
                                                            : options.shown_as.c_str()));
  for (const std::string& argument : options.arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  const Launch launch{options.program.c_str(),
                      argv.data(),
                      getpid(),
                      null.get(),
                      options.stdout_fd,
                      options.stderr_fd,
                      ready.write_end.get(),
                      error.write_end.get()};
  const pid_t pid = fork();
  if (pid == 0) {
    RunChild(launch);
  }
  if (pid < 0) {
    return FromErrno(errno, absl::StrCat("cannot start ", options.name));
  }
  ChildProcess child;
  child.name_ = options.name;
  child.pid_ = pid;
  child.pidfd_ = OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!child.pidfd_.valid()) {
    return FromErrno(errno, absl::StrCat("cannot watch ", options.name));
  }
  ready.write_end.Reset();
  error.write_end.Reset();
  int exec_error = 0;
  ssize_t got = 0;
  do {  // returns at once: exec closes the pipe
    got = read(error.read_end.get(), &exec_error, sizeof(exec_error));
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof(exec_error))) {
    return FromErrno(exec_error,
                     absl::StrCat("cannot run ", options.program, " for ", options.name));
  }
  fcntl(ready.read_end.get(), F_SETFL, O_NONBLOCK);
  child.ready_ = std::move(ready.read_end);
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      exit_status_(other.exit_status_),
      pidfd_(std::move(other.pidfd_)),
      ready_(std::move(other.ready_)),
      partial_line_(std::move(other.partial_line_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    KillAndReap();
    name_ = std::move(other.name_);
    pid_ = std::exchange(other.pid_, -1);
    exit_status_ = other.exit_status_;
    pidfd_ = std::move(other.pidfd_);
    ready_ = std::move(other.ready_);
    partial_line_ = std::move(other.partial_line_);
  }
  return *this;
}

ChildProcess::~ChildProcess() { KillAndReap(); }

void ChildProcess::KillAndReap() {
  if (pid_ > 0 && !exit_status_.has_value()) {
    kill(pid_, SIGKILL);
    WaitForExit(-1);
  }
}

std::vector<std::string> ChildProcess::ReadReadyLines() {
  std::vector<std::string> lines;
  char buffer[4096];
  while (ready_.valid()) {
    const ssize_t got = read(ready_.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      break;
    }
    if (got <= 0) {
      ready_.Reset();
      break;
    }
    partial_line_.append(buffer, static_cast<size_t>(got));
    for (size_t end; (end = partial_line_.find('\n')) != std::string::npos;) {
      lines.push_back(partial_line_.substr(0, end));
      partial_line_.erase(0, end + 1);
    }
    if (partial_line_.size() > kMaxLineBytes) {
      ready_.Reset();
    }
  }
  return lines;
}

void ChildProcess::Signal(int signal_number) {
  if (pid_ > 0 && !exit_status_.has_value()) {
    kill(pid_, signal_number);  // not reaped yet, so the number is still this child's
  }
}

std::optional<ExitStatus> ChildProcess::TryReap() {
  if (exit_status_.has_value() || pid_ <= 0) {
    return exit_status_;
  }
  int status = 0;
  const pid_t reaped = waitpid(pid_, &status, WNOHANG);
  if (reaped == pid_) {
    ExitStatus exit_status;
    if (WIFSIGNALED(status)) {
      exit_status.signal = WTERMSIG(status);
    } else {
      exit_status.code = WEXITSTATUS(status);
    }
    exit_status_ = exit_status;
  }
  return exit_status_;
}

std::optional<ExitStatus> ChildProcess::WaitForExit(int timeout_ms) {
  if (!TryReap().has_value() && pid_ > 0) {
    pollfd watched{pidfd_.get(), POLLIN, 0};
    while (poll(&watched, 1, timeout_ms) < 0 && errno == EINTR) {
    }
    TryReap();
  }
  return exit_status_;
}

}  // namespace tessera::supervisor
