// What the single roles share: reading the configuration, running, and telling a supervisor why it
// failed.
#ifndef TESSERA_SERVICES_CLI_ROLE_COMMAND_H_
#define TESSERA_SERVICES_CLI_ROLE_COMMAND_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "services/cli/commands.h"
#include "services/cli/config_flags.h"
#include "services/config/config.h"

namespace tessera::cli {

// Runs until the process is told to stop; ready_fd: -1, or where to write the ready line.
using RunRole = std::function<absl::Status(const config::ClusterConfig& config, int ready_fd)>;

// Parses the flags of `tessera <role>`, sets the log up, runs. A failure goes to the ready
// descriptor if there is one, else to stderr.
int RunRoleCommand(const std::string& role, const std::string& description, ConfigUse use,
                   const Arguments& arguments, const RunRole& run);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_ROLE_COMMAND_H_
