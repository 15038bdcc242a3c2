// What was known when the binary was configured.
#ifndef TESSERA_SERVICES_CLI_BUILD_INFO_H_
#define TESSERA_SERVICES_CLI_BUILD_INFO_H_

namespace tessera::cli {

extern const char* const kVersion;  // "0.1.0"
extern const char* const
    kGitCommit;  // "commit 1a2b3c4d5e6f", or "commit unknown" outside a git work tree
extern const char* const kBuildType;  // "Release"
extern const char* const kCompiler;   // "GNU 12.2.0"

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_BUILD_INFO_H_
