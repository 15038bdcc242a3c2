// `tessera version`
#include <cstdio>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "grpcpp/grpcpp.h"
#include "kernels/cuda_devices.h"
#include "kernels/kernels.h"
#include "services/cli/build_info.h"
#include "services/cli/commands.h"
#include "services/cli/flags.h"
#include "tessera/v1/inference.pb.h"  // the version of Protobuf

namespace tessera::cli {

int RunVersionCommand(const Arguments& arguments) {
  Flags flags("version",
              "Prints the versions of Tessera and of its libraries, and the kernels that run on "
              "this machine, best first.");
  if (const auto exit_code = flags.Parse(arguments); exit_code.has_value()) {
    return *exit_code;
  }
  std::printf("tessera %s (%s, %s build, %s)\n", kVersion, kGitCommit, kBuildType, kCompiler);
  std::printf("kernels: %s\n", absl::StrJoin(kernels::RunnableKernelNames(), ", ").c_str());
  std::printf("CUDA: %s\n", kernels::DescribeCudaDevices().c_str());
  std::printf("gRPC %s, Protobuf %s, Abseil %d\n", grpc::Version().c_str(),
              google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION).c_str(),
              ABSL_LTS_RELEASE_VERSION);
  return kExitOk;
}

}  // namespace tessera::cli
