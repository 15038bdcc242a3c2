#include "services/cli/role_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "absl/status/statusor.h"
#include "services/base/log.h"
#include "services/base/status_macros.h"
#include "services/cli/client/answer_text.h"
#include "services/cli/default_model.h"
#include "services/cli/flags.h"
#include "services/cli/supervisor/ready_line.h"

namespace tessera::cli {
namespace {

absl::Status SetUpLog(const std::string& role, const config::ClusterConfig& config) {
  TESSERA_ASSIGN_OR_RETURN(const log::Level level, log::ParseLevel(config.log.level));
  log::SetLevel(level);
  log::SetFormat(config.log.format == "json" ? log::Format::kJson : log::Format::kText);
  const std::string& id = config.worker.id;
  log::SetComponent(role == "worker" && !id.empty() ? id : role);
  return absl::OkStatus();
}

absl::Status ReadAndRun(const std::string& role, const ConfigFlags& config_flags, int ready_fd,
                        const RunRole& run) {
  TESSERA_ASSIGN_OR_RETURN(const config::ClusterConfig config, config_flags.Read());
  if (role != "router") {
    TESSERA_RETURN_IF_ERROR(CheckModelFolder(config.model.path));
  }
  TESSERA_RETURN_IF_ERROR(SetUpLog(role, config));
  return run(config, ready_fd);
}

}  // namespace

int RunRoleCommand(const std::string& role, const std::string& description, ConfigUse use,
                   const Arguments& arguments, const RunRole& run) {
  Flags flags(role, description);
  const ConfigFlags config_flags(flags, use);
  int64_t ready_fd = -1;
  flags.Group("Supervision");
  flags.Integer(
      "--ready-fd", &ready_fd,
      "descriptor that gets one JSON line with the address when the process serves; -1: none");
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  // The role may close its descriptor once it serves; a failure after that must still reach the
  // supervisor.
  const int report_fd = ready_fd >= 0 ? fcntl(static_cast<int>(ready_fd), F_DUPFD_CLOEXEC, 3) : -1;
  const absl::Status status = ReadAndRun(role, config_flags, static_cast<int>(ready_fd), run);
  if (status.ok()) {
    return kExitOk;
  }
  const std::string line = supervisor::FailedLineText(status);
  if (report_fd < 0 ||
      write(report_fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    std::fputs(ErrorText(role, status).c_str(), stderr);
  }
  return kExitFailure;
}

}  // namespace tessera::cli
