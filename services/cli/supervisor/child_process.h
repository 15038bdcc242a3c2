// One child process that dies with its parent, and the line protocol by which it says that it is
// ready.
//
// The child writes JSON lines to the descriptor that `--ready-fd` names to it (see ready_line.h).
// It runs in a process group of its own, so that a Ctrl-C on the terminal reaches the parent alone,
// which then stops its children in order.
#ifndef TESSERA_SERVICES_CLI_SUPERVISOR_CHILD_PROCESS_H_
#define TESSERA_SERVICES_CLI_SUPERVISOR_CHILD_PROCESS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::supervisor {

// How a process ended.
struct ExitStatus {
  int code = 0;    // meaningful if signal is 0
  int signal = 0;  // 0: it exited by itself
  bool ok() const { return signal == 0 && code == 0; }
  std::string Describe() const;  // "exit code 1", "signal 9 (Killed)"
};

// Owns a file descriptor.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() { Reset(); }
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release();
  void Reset();

 private:
  int fd_ = -1;
};

struct ChildOptions {
  std::string name;                    // "worker 0", for messages
  std::string program;                 // path
  std::vector<std::string> arguments;  // without the program's own name
  std::string shown_as;                // argv[0], what `ps` shows; empty: the program
  int stdout_fd = -1;                  // -1: inherited; not owned
  int stderr_fd = -1;                  // -1: inherited; not owned
};

// Descriptor number of the ready pipe inside the child.
inline constexpr int kReadyFd = 3;

// Not thread safe. The thread that starts a child must live as long as the child: the kernel ends
// the child with that thread.
class ChildProcess {
 public:
  // The child has standard input from /dev/null, default signal handling and no other descriptor
  // than 0, 1, 2 and kReadyFd. NOT_FOUND: no such program; RESOURCE_EXHAUSTED: no process or
  // descriptor left.
  static absl::StatusOr<ChildProcess> Start(const ChildOptions& options);
  ~ChildProcess();  // kills and reaps a child that still runs
  ChildProcess(ChildProcess&&) noexcept;
  ChildProcess& operator=(ChildProcess&&) noexcept;

  pid_t pid() const { return pid_; }
  const std::string& name() const { return name_; }
  int exit_poll_fd() const { return pidfd_.get(); }  // readable when the process has ended
  int ready_poll_fd() const {
    return ready_.get();
  }  // readable when there is a line or the end of the pipe; -1 once closed

  // Complete lines that have arrived, without waiting. Closes the descriptor at the pipe's end, or
  // after 64 KiB without a line break.
  std::vector<std::string> ReadReadyLines();

  void Signal(int signal_number);  // does nothing to a process that has ended
  // How it ended, or nullopt while it runs. Never waits.
  std::optional<ExitStatus> TryReap();
  // Waits, at most `timeout_ms`.
  std::optional<ExitStatus> WaitForExit(int timeout_ms);

 private:
  ChildProcess() = default;
  void KillAndReap();

  std::string name_;
  pid_t pid_ = -1;
  std::optional<ExitStatus> exit_status_;
  OwnedFd pidfd_;
  OwnedFd ready_;
  std::string partial_line_;
};

}  // namespace tessera::supervisor

#endif  // TESSERA_SERVICES_CLI_SUPERVISOR_CHILD_PROCESS_H_
