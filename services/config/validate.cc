#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/base/status_macros.h"
#include "services/config/config.h"
#include "services/config/rules.h"
#include "services/config/schema.h"
#include "services/config/topology.h"

namespace tessera::config {
namespace {

constexpr size_t kMaxGroupNameBytes = 64;

// Keeps the first error, with the key's full name.
class Checker {
 public:
  template <typename Settings, typename Visit>
  void Section(absl::string_view key, absl::string_view comment, const Settings& settings,
               Visit visit) {
    const std::string outer = prefix_;
    absl::StrAppend(&prefix_, key, ".");
    visit(*this, settings);
    prefix_ = outer;
  }
  void Topology(absl::string_view key, const std::vector<PoolSettings>& value, absl::string_view) {
    Keep(key, CheckTopology(value));
  }
  void Text(absl::string_view, const std::string&, absl::string_view) {}
  void Bool(absl::string_view, bool, absl::string_view) {}
  void Address(absl::string_view key, const std::string& value, AddressUse use, absl::string_view) {
    Keep(key, CheckAddress(value, use));
  }
  void Choice(absl::string_view key, const std::string& value,
              std::initializer_list<absl::string_view> allowed, absl::string_view) {
    Keep(key, CheckChoice(value, allowed));
  }
  void Int(absl::string_view key, int64_t value, int64_t min, int64_t max, absl::string_view) {
    Keep(key, CheckRange(value, min, max));
  }
  void Bytes(absl::string_view key, int64_t value, int64_t min, int64_t max, absl::string_view) {
    Keep(key, CheckRange(value, min, max));
  }
  void Milliseconds(absl::string_view key, absl::Duration value, int64_t min, int64_t max,
                    absl::string_view) {
    Keep(key, CheckRange(absl::ToInt64Milliseconds(value), min, max));
  }
  const absl::Status& status() const { return status_; }

 private:
  void Keep(absl::string_view key, const absl::Status& status) {
    if (status_.ok() && !status.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat(prefix_, key, ": ", status.message()));
    }
  }

  std::string prefix_;
  absl::Status status_;
};

absl::Status CheckGroup(const GroupSettings& group) {
  const auto refuse = [](absl::string_view key, const auto&... message) {
    return absl::InvalidArgumentError(absl::StrCat("worker.group.", key, ": ", message...));
  };
  if (group.name.size() > kMaxGroupNameBytes) {
    return refuse("name", group.name.size(), " bytes are more than ", kMaxGroupNameBytes);
  }
  if (group.stage >= group.stages) {
    return refuse("stage", group.stage, " is not below worker.group.stages (", group.stages, ")");
  }
  if (group.expert_rank >= group.expert_ranks) {
    return refuse("expert_rank", group.expert_rank, " is not below worker.group.expert_ranks (",
                  group.expert_ranks, ")");
  }
  const int64_t ranks = group.stages * group.expert_ranks;
  if (ranks > kMaxRanks) {
    return refuse("stages", group.stages, " times worker.group.expert_ranks (", group.expert_ranks,
                  ") is more than ", kMaxRanks, " ranks");
  }
  if (ranks > 1 && group.name.empty()) {
    return refuse("name", "is empty, but a group of ", ranks,
                  " ranks needs a name by which they find each other");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRange(int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(value, " is not in [", min, ", ", max, "]"));
}

absl::Status CheckChoice(absl::string_view value,
                         std::initializer_list<absl::string_view> allowed) {
  for (absl::string_view choice : allowed) {
    if (value == choice) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", value, "\" is not one of: ", absl::StrJoin(allowed, ", ")));
}

absl::Status CheckAddress(absl::string_view value, AddressUse use) {
  if (value.empty() && use != AddressUse::kListen) return absl::OkStatus();
  const int64_t min_port = use == AddressUse::kOptionalPeer ? 1 : 0;
  const size_t colon = value.rfind(':');
  int64_t port = -1;
  // A bare IPv6 address has colons of its own, so it needs brackets before a port.
  const bool host_ok = colon != absl::string_view::npos && colon > 0 &&
                       (value.front() == '[' ? value[colon - 1] == ']' : value.find(':') == colon);
  if (host_ok && absl::SimpleAtoi(value.substr(colon + 1), &port) && port >= min_port &&
      port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", value, "\" is not host:port with a port in [", min_port, ", 65535]"));
}

absl::Status ValidateValues(const ClusterConfig& config) {
  Checker checker;
  VisitCluster(checker, config);
  return checker.status();
}

absl::Status Validate(const ClusterConfig& config) {
  TESSERA_RETURN_IF_ERROR(ValidateValues(config));
  if (config.workers_given && !config.topology.empty()) {
    return absl::InvalidArgumentError(
        "workers, topology: both are given; workers: N is short for N groups of 1x1, so leave one "
        "of them out");
  }
  TESSERA_RETURN_IF_ERROR(CheckGroup(config.worker.group));
  const RouterSettings& router = config.router;
  if (router.heartbeat_interval * 3 > router.lease) {
    // With fewer than three tries per lease, one lost heartbeat would end a healthy worker's lease.
    return absl::InvalidArgumentError(absl::StrCat(
        "router.heartbeat_interval_ms: ", absl::ToInt64Milliseconds(router.heartbeat_interval),
        " is more than a third of router.lease_ms (", absl::ToInt64Milliseconds(router.lease),
        ")"));
  }
  if (config.gateway.max_image_bytes > config.gateway.max_message_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gateway.max_image_bytes: ", config.gateway.max_image_bytes,
        " is more than gateway.max_message_bytes (", config.gateway.max_message_bytes, ")"));
  }
  if (config.worker.max_step_tokens < config.worker.max_batch_sequences) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker.max_step_tokens: ", config.worker.max_step_tokens,
                     " is less than worker.max_batch_sequences (",
                     config.worker.max_batch_sequences, "): each running sequence needs a row"));
  }
  return absl::OkStatus();
}

}  // namespace tessera::config
