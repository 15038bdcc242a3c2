// `tessera top`: the cluster as the router sees it, live.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/commands.h"
#include "services/cli/flags.h"
#include "services/cli/signal_watcher.h"
#include "services/cli/top/cluster_frame.h"
#include "services/cli/top/cluster_text.h"
#include "services/cli/top/router_client.h"
#include "services/cli/top/screen.h"
#include "services/config/config.h"

namespace tessera::cli {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(2);
constexpr size_t kAnyWidth = 1 << 20;  // what goes to a file or a pipe has no width

struct TopFlags {
  std::string router;  // empty: from the configuration
  std::string config_file;
  absl::Duration interval = absl::Seconds(1);
  bool once = false;
  bool json = false;
};

// Where a client reaches what listens there: an address that stands for all of them is none.
std::string Reachable(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon);
  const std::string port = listen.substr(colon);
  return host == "0.0.0.0" ? absl::StrCat("127.0.0.1", port)
         : host == "[::]"  ? absl::StrCat("[::1]", port)
                           : listen;
}

absl::StatusOr<std::string> RouterAddress(const TopFlags& flags) {
  config::ClusterConfig config;
  if (!flags.router.empty()) {
    config.gateway.router_address = flags.router;
    if (!config::ValidateValues(config).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--router: \"", flags.router, "\" is not host:port"));
    }
    return flags.router;
  }
  if (!flags.config_file.empty()) {
    TESSERA_ASSIGN_OR_RETURN(config, config::ReadClusterConfig(flags.config_file));
  }
  if (absl::EndsWith(config.router.listen, ":0")) {
    return absl::InvalidArgumentError(
        "router.listen has port 0, which is any free one: name the router by --router");
  }
  return Reachable(config.router.listen);
}

// Asks the router; keeps the last view and the rates.
class Poller {
 public:
  explicit Poller(const std::string& router) : client_(RouterClient::Connect(router)) {
    frame_.router = router;
  }
  const ClusterFrame& Poll() {
    absl::StatusOr<v1::Cluster> cluster = client_->GetCluster(absl::Now() + kCallTimeout);
    frame_.time = absl::Now();
    frame_.status = cluster.status();
    if (cluster.ok()) {
      frame_.rates = meter_.Observe(frame_.time, *cluster);
      frame_.cluster = *std::move(cluster);
      frame_.cluster_time = frame_.time;
    }
    return frame_;
  }

 private:
  const std::unique_ptr<RouterClient> client_;
  ClusterFrame frame_;
  TokenRateMeter meter_;
};

bool Print(const ClusterFrame& frame, bool json) {
  const std::string text =
      json ? absl::StrCat(ClusterJson(frame), "\n") : ClusterText(frame, {.columns = kAnyWidth});
  return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
}

// Two views, since one has no rates.
absl::Status PrintOnce(Poller& poller, const TopFlags& flags, const LeaveSwitch& leave) {
  TESSERA_RETURN_IF_ERROR(poller.Poll().status);
  if (WaitToLeave(leave, absl::Now() + flags.interval)) {
    return absl::CancelledError("stopped before the second view");
  }
  const ClusterFrame& frame = poller.Poll();
  TESSERA_RETURN_IF_ERROR(frame.status);
  Print(frame, flags.json);
  return absl::OkStatus();
}

void PrintRepeatedly(Poller& poller, const TopFlags& flags, const LeaveSwitch& leave) {
  absl::Time next = absl::Now();
  do {
    next = std::max(next + flags.interval, absl::Now());
    if (!Print(poller.Poll(), flags.json)) {
      return;  // the reader has gone
    }
    if (!flags.json) {
      std::fputs("\n", stdout);
    }
  } while (!WaitToLeave(leave, next));
}

void ShowLive(Poller& poller, const TopFlags& flags, const LeaveSwitch& leave) {
  const char* no_color = std::getenv("NO_COLOR");
  ClusterTextStyle style;
  style.color = no_color == nullptr || *no_color == '\0';
  Screen screen(leave);
  absl::Time next = absl::Now();
  do {
    next = std::max(next + flags.interval, absl::Now());
    const ClusterFrame& frame = poller.Poll();
    const ScreenSize size = TerminalSize();
    style.columns = size.columns;
    style.rows = size.rows;
    if (!screen.Show(ClusterText(frame, style))) {
      return;
    }
  } while (!screen.WaitToLeave(next));
}

absl::Status Run(const TopFlags& flags, const LeaveSwitch& leave) {
  TESSERA_ASSIGN_OR_RETURN(const std::string router, RouterAddress(flags));
  Poller poller(router);
  if (flags.once) {
    return PrintOnce(poller, flags, leave);
  }
  if (flags.json || isatty(STDOUT_FILENO) != 1) {
    PrintRepeatedly(poller, flags, leave);
  } else {
    ShowLive(poller, flags, leave);
  }
  return absl::OkStatus();
}

}  // namespace

int RunTopCommand(const Arguments& arguments) {
  LeaveSwitch leave;
  // First of all, so that every later thread leaves the signals to it.
  const SignalWatcher signals([&leave](int, int) { leave.Set(); });
  TopFlags values;
  Flags flags("top",
              "Shows the cluster as its router sees it: pools, ranks, requests, KV blocks, tokens "
              "per second. On a terminal the view is live until q or Ctrl-C; elsewhere a plain "
              "table is printed per refresh. A router that does not answer is asked again.");
  flags.Text("--router", &values.router,
             "host:port of the router; without it router.listen of --config, or 127.0.0.1:7401",
             "ADDR");
  flags.Text("--config", &values.config_file, "YAML file of the cluster", "FILE");
  flags.Duration("--interval", &values.interval, "between two views");
  flags.Switch("--once", &values.once,
               "print one table and exit; two views, --interval apart, give the rates");
  flags.Switch("--json", &values.json, "print one JSON object per view");
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  const absl::Status status = Run(values, leave);
  if (!status.ok()) {
    std::fputs(ErrorText("top", status).c_str(), stderr);
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace tessera::cli
