// Reads the small files of a checkpoint folder.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_MODEL_FILES_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_MODEL_FILES_H_

#include <string>

#include "absl/status/statusor.h"

namespace tessera::prompt {

// The whole file. NOT_FOUND: there is none (says the name, not the folder); INVALID_ARGUMENT: it
// can't be read, or is above 256 MiB.
absl::StatusOr<std::string> ReadModelFile(const std::string& model_dir, const std::string& name);

// As above, but a missing file is an empty text.
absl::StatusOr<std::string> ReadOptionalModelFile(const std::string& model_dir,
                                                  const std::string& name);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_MODEL_FILES_H_
