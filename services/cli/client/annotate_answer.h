// Pictures with an answer's boxes drawn on them.
#ifndef TESSERA_SERVICES_CLI_CLIENT_ANNOTATE_ANSWER_H_
#define TESSERA_SERVICES_CLI_CLIENT_ANNOTATE_ANSWER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/client/inference_client.h"

namespace tessera::cli {

// Where the picture with this index goes: out.png, out-1.png, out-2.png …
std::string AnnotatedPath(const std::string& path, size_t image_index);

// Writes picture 0 with its valid boxes to `path`, and each further picture that has a box to its
// own path. pictures: file bytes. INVALID_ARGUMENT: there is no picture, or one cannot be decoded;
// other errors: a file cannot be written.
absl::Status AnnotateAnswer(const std::vector<std::string>& pictures, const Answer& answer,
                            const std::string& path);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CLIENT_ANNOTATE_ANSWER_H_
