// The subcommands of `tessera`. Each parses its own flags, prints its own --help and returns the
// process's exit code.
#ifndef TESSERA_SERVICES_CLI_COMMANDS_H_
#define TESSERA_SERVICES_CLI_COMMANDS_H_

#include <string>
#include <vector>

namespace tessera::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// arguments: what follows the subcommand's name.
using Arguments = std::vector<std::string>;

int RunServeCommand(const Arguments& arguments);
int RunGatewayCommand(const Arguments& arguments);
int RunRouterCommand(const Arguments& arguments);
int RunWorkerCommand(const Arguments& arguments);
int RunAskCommand(const Arguments& arguments);
int RunChatCommand(const Arguments& arguments);
int RunCheckCommand(const Arguments& arguments);
int RunTopCommand(const Arguments& arguments);
int RunPlanCommand(const Arguments& arguments);
int RunVersionCommand(const Arguments& arguments);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_COMMANDS_H_
