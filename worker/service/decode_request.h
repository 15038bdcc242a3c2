// From the wire to the engine.
#ifndef TESSERA_WORKER_SERVICE_DECODE_REQUEST_H_
#define TESSERA_WORKER_SERVICE_DECODE_REQUEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/engine.h"

namespace tessera::v1 {
class DecodeRequest;
class PreparedPrompt;
}  // namespace tessera::v1

namespace tessera::worker {

// The request's source is a prompt or a handed-over one, whose lease becomes kv_lease.
// INVALID_ARGUMENT names the field (with BadRequest details). Ranges of numbers are left to
// Engine::Submit, which checks them all.
absl::StatusOr<engine::GenerationRequest> ToGenerationRequest(const v1::DecodeRequest& request,
                                                              absl::Time deadline);

// A prompt alone: all fields but token ids, pictures and salt are defaults. field: its path from
// the call's request, for errors.
absl::StatusOr<engine::GenerationRequest> ToPrompt(const v1::PreparedPrompt& prompt,
                                                   const std::string& field);

// INVALID_ARGUMENT names the field: ids are 1 to 256 bytes.
absl::Status CheckId(const std::string& id, const std::string& field);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_DECODE_REQUEST_H_
