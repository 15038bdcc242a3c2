// What the gateway must know of the model beyond the prompt.
#ifndef TESSERA_SERVICES_GATEWAY_MODEL_INFO_H_
#define TESSERA_SERVICES_GATEWAY_MODEL_INFO_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace tessera::gateway {

struct ModelInfo {
  std::string name;             // as configured, else the folder's base name
  std::string revision;         // SHA-256, hexadecimal
  int64_t context_tokens = 0;   // prompt and answer together
  int64_t vocabulary_size = 0;  // one past the highest id of the logits
};

// Reads language_config.max_position_embeddings and vocab_size from the folder's config.json.
// NOT_FOUND: no such file; INVALID_ARGUMENT: names the key. `revision` stays empty.
absl::StatusOr<ModelInfo> ReadModelInfo(const std::string& model_dir,
                                        const std::string& configured_name);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_MODEL_INFO_H_
