#include "services/cli/config_flags.h"

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/default_model.h"
#include "services/config/byte_size.h"
#include "services/config/schema.h"
#include "services/config/topology.h"

namespace tessera::cli {
namespace {

// Visits one key of the schema: reads it as text, and sets it from text if a value is given.
class KeyVisitor {
 public:
  KeyVisitor(const std::string& key, const std::string* value) : key_(key), value_(value) {}

  template <typename Settings, typename Visit>
  void Section(const char* name, const char* comment, Settings& settings, Visit visit) {
    const std::string outer = prefix_;
    absl::StrAppend(&prefix_, name, ".");
    visit(*this, settings);
    prefix_ = outer;
  }
  void Text(const char* name, std::string& target, const char* comment) {
    if (Found(name, target) && value_ != nullptr) {
      target = *value_;
    }
  }
  void Address(const char* name, std::string& target, config::AddressUse use, const char* comment) {
    Text(name, target, comment);
  }
  void Choice(const char* name, std::string& target,
              std::initializer_list<absl::string_view> allowed, const char* comment) {
    Text(name, target, comment);
  }
  void Bool(const char* name, bool& target, const char* comment) {
    if (Found(name, target ? "true" : "false") && value_ != nullptr &&
        !absl::SimpleAtob(*value_, &target)) {
      Refuse("true or false");
    }
  }
  void Int(const char* name, int64_t& target, int64_t min, int64_t max, const char* comment) {
    if (Found(name, absl::StrCat(target)) && value_ != nullptr &&
        !absl::SimpleAtoi(*value_, &target)) {
      Refuse("an integer");
    }
  }
  void Bytes(const char* name, int64_t& target, int64_t min, int64_t max, const char* comment) {
    if (!Found(name, config::FormatByteSize(target)) || value_ == nullptr) {
      return;
    }
    if (const auto bytes = config::ParseByteSize(*value_); bytes.ok()) {
      target = *bytes;
    } else {
      Refuse("a size such as 512MiB");
    }
  }
  void Milliseconds(const char* name, absl::Duration& target, int64_t min, int64_t max,
                    const char* comment) {
    int64_t ms = absl::ToInt64Milliseconds(target);
    if (!Found(name, absl::StrCat(ms)) || value_ == nullptr) {
      return;
    }
    if (absl::SimpleAtoi(*value_, &ms)) {
      target = absl::Milliseconds(ms);
    } else {
      Refuse("an integer number of milliseconds");
    }
  }

  void Topology(const char* name, std::vector<config::PoolSettings>& target, const char* comment) {
    if (!Found(name, config::FormatTopology(target)) || value_ == nullptr) {
      return;
    }
    if (value_->empty()) {
      target.clear();
    } else if (auto pools = config::ParseTopology(*value_); pools.ok()) {
      target = *std::move(pools);
    } else {
      status_ = absl::InvalidArgumentError(absl::StrCat(key_, ": ", pools.status().message()));
    }
  }

  bool found() const { return found_; }
  const std::string& text() const { return text_; }  // before it was set
  const absl::Status& status() const { return status_; }

 private:
  bool Found(const char* name, const std::string& text) {
    if (key_ != prefix_ + name) {
      return false;
    }
    found_ = true;
    text_ = text;
    return true;
  }
  void Refuse(const char* kind) {
    status_ = absl::InvalidArgumentError(absl::StrCat(key_, ": \"", *value_, "\" is not ", kind));
  }

  const std::string& key_;
  const std::string* value_;
  std::string prefix_;
  bool found_ = false;
  std::string text_;
  absl::Status status_;
};

std::string DefaultText(const std::string& key) {
  config::ClusterConfig defaults;
  KeyVisitor visitor(key, nullptr);
  config::VisitCluster(visitor, defaults);
  return visitor.text();
}

absl::Status SplitSetting(const std::string& text, Overrides* overrides) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not KEY=VALUE"));
  }
  const std::string key = text.substr(0, equals);
  const std::string value = text.substr(equals + 1);
  config::ClusterConfig scratch;
  TESSERA_RETURN_IF_ERROR(ApplyOverride(key, value, &scratch));
  overrides->emplace_back(key, value);
  return absl::OkStatus();
}

std::string BaseName(const std::string& folder) {
  std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

}  // namespace

absl::Status ApplyOverride(const std::string& key, const std::string& value,
                           config::ClusterConfig* config) {
  KeyVisitor visitor(key, &value);
  config::VisitCluster(visitor, *config);
  if (!visitor.found()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no key \"", key, "\"; deploy/config/cluster.example.yaml names all"));
  }
  config->workers_given |= key == "workers";
  return visitor.status();
}

ConfigFlags::ConfigFlags(Flags& flags, ConfigUse use) : use_(use) {
  const bool serve = use == ConfigUse::kServe;
  const bool cluster = serve || use == ConfigUse::kPrivateCluster;
  flags.Text("--config", &file_, "YAML file; deploy/config/cluster.example.yaml names every key",
             "FILE");
  flags.Repeated("--set", "KEY=VALUE",
                 "one key of the configuration, such as worker.prefix_caching=false",
                 [this](const std::string& text) { return SplitSetting(text, &overrides_); });
  if (use != ConfigUse::kRouter) {
    Declare(flags, "--model", "model.path",
            "folder of the model in the official checkpoint layout; without it $TESSERA_MODEL, or "
            "the model that "
            "ships with Tessera");
  }
  if (serve || use == ConfigUse::kGateway || use == ConfigUse::kWorker) {
    Declare(flags, "--model-name", "model.name",
            "what clients call it; without it the folder's base name");
  }
  if (serve || use == ConfigUse::kGateway) {
    Declare(flags, "--listen", "gateway.listen",
            "host:port of the public API; port 0: any free one");
  }
  if (use == ConfigUse::kGateway) {
    Declare(flags, "--router", "gateway.router_address", "host:port of the router");
    Declare(flags, "--metrics-listen", "gateway.metrics_listen",
            "host:port of /metrics; without it off");
  }
  if (serve) {
    Declare(flags, "--router-listen", "router.listen", "host:port of the router");
  }
  if (use == ConfigUse::kRouter) {
    Declare(flags, "--listen", "router.listen", "host:port; port 0: any free one");
    Declare(flags, "--metrics-listen", "router.metrics_listen",
            "host:port of /metrics; without it off");
    Declare(flags, "--policy", "router.policy",
            "which worker takes a request: least_tokens, round_robin, prefix");
  }
  if (use == ConfigUse::kWorker) {
    Declare(flags, "--id", "worker.id", "unique in the cluster; without it host name and port");
    Declare(flags, "--listen", "worker.listen", "host:port; port 0: any free one");
    Declare(flags, "--advertise", "worker.advertise",
            "host:port that others reach; without it as bound");
    Declare(flags, "--router", "worker.router_address", "host:port of the router");
    Declare(flags, "--metrics-listen", "worker.metrics_listen",
            "host:port of /metrics; without it off");
    Declare(flags, "--role", "worker.role",
            "what it is for: both, prefill (computes prompts and hands KV over), decode (takes KV "
            "over and generates)");
    Declare(flags, "--group", "worker.group.name",
            "name of the group of ranks that share one copy of the model; without it no group");
    Declare(flags, "--stages", "worker.group.stages", "of the group: runs of layers");
    Declare(flags, "--expert-ranks", "worker.group.expert_ranks",
            "of the group: ranks per stage that share its experts");
    Declare(flags, "--stage", "worker.group.stage", "this rank's, from 0");
    Declare(flags, "--expert-rank", "worker.group.expert_rank", "this rank's, from 0");
    Declare(flags, "--transport", "worker.transport",
            "between the ranks of a group: auto, shm, gloo, nccl");
  }
  if (cluster) {
    Declare(flags, "--workers", "workers", "local worker processes, each with the whole model");
    Declare(flags, "--topology", "topology",
            "instead of --workers: [ROLE=]STAGESxEXPERT_RANKS[*GROUPS], more after commas; ROLE is "
            "both (without it), prefill or decode: 2x2, 1x2*2, prefill=1x2,decode=1x2");
  }
  if (cluster || use == ConfigUse::kWorker) {
    Declare(flags, "--compute", "worker.compute", "bf16 (serving) or f32 (reference)");
    Declare(flags, "--cpu-isa", "worker.cpu_isa",
            "kernels: auto, reference, generic, avx2, avx512bf16");
    Declare(flags, "--threads", "worker.threads",
            cluster ? "of each worker; 0: all processors, shared among the workers"
                    : "0: all processors");
    Declare(flags, "--kv-cache", "worker.kv_cache_bytes", "memory of a worker's KV cache");
    Declare(flags, "--chunk-tokens", "worker.prefill_chunk_tokens",
            "incremental prefill: most prompt tokens of one request in one step");
  }
  if (use != ConfigUse::kPrivateCluster) {
    Declare(flags, "--log-level", "log.level", "debug, info, warning, error");
    Declare(flags, "--log-format", "log.format", "text or json, on stderr");
  }
}

void ConfigFlags::Declare(Flags& flags, const std::string& name, const std::string& key,
                          const std::string& help) {
  flags.Custom(name, "VALUE", DefaultText(key), help, [this, key](const std::string& value) {
    config::ClusterConfig scratch;
    TESSERA_RETURN_IF_ERROR(ApplyOverride(key, value, &scratch));
    TESSERA_RETURN_IF_ERROR(config::ValidateValues(scratch));
    overrides_.emplace_back(key, value);
    return absl::OkStatus();
  });
}

absl::StatusOr<config::ClusterConfig> ConfigFlags::Read() const {
  config::ClusterConfig config;
  if (!file_.empty()) {
    TESSERA_ASSIGN_OR_RETURN(config, config::ReadClusterConfig(file_));
  }
  for (const auto& [key, value] : overrides_) {
    TESSERA_RETURN_IF_ERROR(ApplyOverride(key, value, &config));
  }
  TESSERA_RETURN_IF_ERROR(config::Validate(config));
  if (use_ == ConfigUse::kRouter) {
    return config;
  }
  if (config.model.path.empty()) {
    TESSERA_ASSIGN_OR_RETURN(config.model.path, FindDefaultModel());
  }
  if (config.model.name.empty()) {
    config.model.name = BaseName(config.model.path);
  }
  return config;
}

std::vector<std::string> ConfigFlags::AsArguments() const {
  std::vector<std::string> arguments;
  if (!file_.empty()) {
    arguments.insert(arguments.end(), {"--config", file_});
  }
  for (const auto& [key, value] : overrides_) {
    arguments.insert(arguments.end(), {"--set", absl::StrCat(key, "=", value)});
  }
  return arguments;
}

}  // namespace tessera::cli
