// Brings a set of child processes up in stages, keeps them up, and stops them in stages. Knows
// nothing of what they do.
//
// Start: the members of stage 0 first; those of the next stage when all before serve. A member that
// fails before it ever served ends the whole start: its error is the result of WaitUntilServing,
// and every process is killed. Running: a member that ends is said in the log and started again
// after a doubling, bounded delay, at the address it had; the others go on. Stop: SIGTERM to the
// members of stop stage 0; when they have ended (or their drain time has passed and they were
// killed), the next stage.
#ifndef TESSERA_SERVICES_CLI_SUPERVISOR_SUPERVISOR_H_
#define TESSERA_SERVICES_CLI_SUPERVISOR_SUPERVISOR_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/cli/supervisor/backoff.h"
#include "services/cli/supervisor/child_process.h"
#include "services/cli/supervisor/ready_line.h"

namespace tessera::supervisor {

// Addresses of the members that have served so far, by name.
using Addresses = std::map<std::string, std::string>;

struct MemberSpec {
  std::string name;  // unique: "router", "worker 0"
  int start_stage = 0;
  int stop_stage = 0;
  // The child's arguments; called on the supervisor's thread at each start. `addresses` holds the
  // member's own last address after a first start.
  std::function<std::vector<std::string>(const Addresses& addresses)> arguments;
  absl::Duration drain_timeout = absl::Seconds(30);  // from SIGTERM to SIGKILL
};

// Called on the supervisor's thread while a member loads, as often as it reports.
using LoadingObserver =
    std::function<void(const std::string& name, int64_t loaded_bytes, int64_t total_bytes)>;

struct SupervisorOptions {
  std::string program;                               // runs every member
  std::string shown_as;                              // what `ps` shows for it; empty: the program
  int stdout_fd = -1;                                // of all members; -1: inherited; not owned
  int stderr_fd = -1;                                // likewise
  absl::Duration start_timeout = absl::Minutes(10);  // from a member's start until it serves
  BackoffOptions backoff;
  LoadingObserver on_loading;  // may be empty
};

// Thread safe. One thread of its own starts and watches the children; all of them die with it.
class Supervisor {
 public:
  Supervisor(SupervisorOptions options, std::vector<MemberSpec> members);
  ~Supervisor();  // kills what still runs

  // Starts the thread; at most once.
  void Start();

  // Returns when every member has served: OK; or when the start has failed: the first failing
  // member's status, its name before its message; or CANCELLED if a stop came first.
  absl::Status WaitUntilServing();

  // Returns when all have ended after RequestStop: OK if each ended by itself in time with code 0,
  // else the first complaint. Also after RequestKill (CANCELLED) and after a failed start (its
  // status).
  absl::Status WaitUntilEnded();
  // As above, at most this long; nullopt if they still run.
  std::optional<absl::Status> WaitUntilEndedFor(absl::Duration timeout);

  // Both return at once and may be called from a signal handler.
  void RequestStop();
  void RequestKill();

  Addresses addresses() const;
  std::map<std::string, pid_t> pids() const;  // of the members that run

 private:
  enum class State { kWaiting, kStarting, kServing, kBackingOff, kStopping, kEnded };
  struct Member {
    explicit Member(MemberSpec spec_in, const BackoffOptions& backoff_options)
        : spec(std::move(spec_in)), backoff(backoff_options) {}
    MemberSpec spec;
    Backoff backoff;
    State state = State::kWaiting;
    std::optional<ChildProcess> child;
    bool ever_served = false;
    bool kill_sent = false;
    absl::Time serving_since = absl::InfiniteFuture();
    absl::Time deadline = absl::InfiniteFuture();  // of the state: start timeout, end of the
                                                   // back-off, end of the drain
    absl::Status reported;                         // what a FailedLine said of this start
  };
  enum class Request : int { kNone = 0, kStop = 1, kKill = 2 };

  void Loop();
  void WaitForEvents();
  void ObeyRequests();
  void StartWaiting();
  void StartMember(Member& member);
  void ReadLines(Member& member);
  void CheckExit(Member& member);
  void CheckDeadline(Member& member, absl::Time now);
  void MemberEnded(Member& member, const ExitStatus& exit);
  void FailStart(const Member& member, const absl::Status& status);
  void BackOff(Member& member, const std::string& what);
  void AdvanceStop();
  void KillAll();
  bool AllEnded() const;
  void Complain(const absl::Status& status);

  const SupervisorOptions options_;
  std::vector<std::unique_ptr<Member>> members_;  // the thread's alone, once started
  OwnedFd wake_;
  std::atomic<int> request_{0};
  bool stopping_ = false;
  bool killing_ = false;
  int stop_stage_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool all_served_ = false;
  bool ended_ = false;
  absl::Status outcome_;  // the first complaint
  Addresses addresses_;
  std::map<std::string, pid_t> pids_;

  std::thread thread_;
};

}  // namespace tessera::supervisor

#endif  // TESSERA_SERVICES_CLI_SUPERVISOR_SUPERVISOR_H_
