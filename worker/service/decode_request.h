// From the wire to the engine.
#ifndef TESSERA_WORKER_SERVICE_DECODE_REQUEST_H_
#define TESSERA_WORKER_SERVICE_DECODE_REQUEST_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/engine.h"

namespace tessera::v1 {
class DecodeRequest;
}  // namespace tessera::v1

namespace tessera::worker {

// INVALID_ARGUMENT names the field (with BadRequest details). Ranges of numbers are left to
// Engine::Submit, which checks them all.
absl::StatusOr<engine::GenerationRequest> ToGenerationRequest(const v1::DecodeRequest& request,
                                                              absl::Time deadline);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_DECODE_REQUEST_H_
