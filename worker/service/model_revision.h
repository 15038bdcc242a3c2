// Which checkpoint a worker serves, as gateways compute it too.
#ifndef TESSERA_WORKER_SERVICE_MODEL_REVISION_H_
#define TESSERA_WORKER_SERVICE_MODEL_REVISION_H_

#include <string>

#include "absl/status/statusor.h"
#include "services/base/sha256.h"

namespace tessera::worker {

// SHA-256 over name and content of config.json, processor_config.json, tokenizer.json and
// model.safetensors.index.json, as far as they are there. NOT_FOUND: there is no config.json.
absl::StatusOr<Digest> ModelRevision(const std::string& model_dir);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_MODEL_REVISION_H_
