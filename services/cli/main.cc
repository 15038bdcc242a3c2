// `tessera`: picks the subcommand.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "services/cli/commands.h"

namespace tessera::cli {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Arguments&);
};

constexpr Command kCommands[] = {
    {"ask", "answer one question about pictures, streaming", RunAskCommand},
    {"chat", "a conversation about pictures", RunChatCommand},
    {"serve", "bring up a whole local cluster and keep it up", RunServeCommand},
    {"gateway", "run one gateway: the public API", RunGatewayCommand},
    {"router", "run one router: who is alive, who takes a request", RunRouterCommand},
    {"worker", "run one worker: the model", RunWorkerCommand},
    {"top", "watch a cluster: ranks, requests, memory, tokens per second", RunTopCommand},
    {"check", "compare against a folder of golden results", RunCheckCommand},
    {"plan", "print the memory that a model takes, per topology", RunPlanCommand},
    {"version", "print versions and the kernels that run on this machine", RunVersionCommand},
};

void PrintHelp(std::FILE* out) {
  std::fputs(
      "Tessera serves DeepSeek-VL2 models: pictures and text in, text and boxes out.\n\n"
      "Usage: tessera COMMAND [OPTIONS]\n\nCommands:\n",
      out);
  for (const Command& command : kCommands) {
    std::fprintf(out, "  %-9s %s\n", command.name, command.summary);
  }
  std::fputs(
      "\n`tessera COMMAND --help` lists a command's options with their defaults.\n"
      "Exit codes: 0 success, 1 failure, 2 wrong usage.\n",
      out);
}

int Main(int argc, char** argv) {
  // A peer that hangs up is an error of one write, not the end of the process.
  signal(SIGPIPE, SIG_IGN);
  std::string name = argc > 1 ? argv[1] : "";
  Arguments arguments(argv + std::min(argc, 2), argv + argc);
  if (name == "help" && !arguments.empty()) {  // `tessera help ask`
    name = arguments.front();
    arguments = {"--help"};
  }
  if (name == "--help" || name == "-h" || name == "help") {
    PrintHelp(stdout);
    return kExitOk;
  }
  if (name == "--version") {
    name = "version";
  }
  for (const Command& command : kCommands) {
    if (name == command.name) {
      return command.run(arguments);
    }
  }
  if (!name.empty()) {
    std::fprintf(stderr, "tessera: there is no command \"%s\"\n\n", name.c_str());
  }
  PrintHelp(stderr);
  return kExitUsage;
}

}  // namespace
}  // namespace tessera::cli

int main(int argc, char** argv) { return tessera::cli::Main(argc, argv); }
