// Where the model is that ships with Tessera.
#ifndef TESSERA_SERVICES_CLI_DEFAULT_MODEL_H_
#define TESSERA_SERVICES_CLI_DEFAULT_MODEL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tessera::cli {

// $TESSERA_MODEL if it is set; else models/nano of the source tree that the binary was built in, or
// share/tessera/models/nano of the prefix it was installed under. NOT_FOUND names the places that
// were looked at.
absl::StatusOr<std::string> FindDefaultModel();

// NOT_FOUND names the folder if it is not there, or is no folder.
absl::Status CheckModelFolder(const std::string& folder);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_DEFAULT_MODEL_H_
