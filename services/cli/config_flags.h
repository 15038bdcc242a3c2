// The configuration of a process as its command line gives it: a YAML file, then single keys on
// top.
#ifndef TESSERA_SERVICES_CLI_CONFIG_FLAGS_H_
#define TESSERA_SERVICES_CLI_CONFIG_FLAGS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/cli/flags.h"
#include "services/config/config.h"

namespace tessera::cli {

// Which flags a command offers. Every command has --config and --set.
enum class ConfigUse {
  kServe,           // the whole cluster
  kPrivateCluster,  // the cluster that `ask` and `chat` bring up for themselves
  kGateway,
  kRouter,
  kWorker,
};

// Values of single keys by path: {"gateway.listen", "127.0.0.1:0"}.
using Overrides = std::vector<std::pair<std::string, std::string>>;

// INVALID_ARGUMENT: no such key, or a value of another kind. Ranges are config::Validate's.
absl::Status ApplyOverride(const std::string& key, const std::string& value,
                           config::ClusterConfig* config);

// Declares the flags; read after Flags::Parse. Not thread safe; neither copied nor moved.
class ConfigFlags {
 public:
  ConfigFlags(Flags& flags, ConfigUse use);
  ConfigFlags(const ConfigFlags&) = delete;
  ConfigFlags& operator=(const ConfigFlags&) = delete;

  // Defaults, then the file, then the flags; checked. An empty model path becomes the shipped
  // model's folder where `use` needs a model, and an empty model name the folder's base name.
  // Errors are the reader's, Validate's, or NOT_FOUND for the shipped model.
  absl::StatusOr<config::ClusterConfig> Read() const;

  // The same settings as arguments of another command of this binary: --config FILE, --set
  // KEY=VALUE …
  std::vector<std::string> AsArguments() const;

 private:
  void Declare(Flags& flags, const std::string& name, const std::string& key,
               const std::string& help);

  ConfigUse use_;
  std::string file_;
  Overrides overrides_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CONFIG_FLAGS_H_
