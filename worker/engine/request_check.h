// What a request must satisfy before it may enter the engine.
#ifndef TESSERA_WORKER_ENGINE_REQUEST_CHECK_H_
#define TESSERA_WORKER_ENGINE_REQUEST_CHECK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/engine.h"
#include "worker/model/model.h"

namespace tessera::engine {

// INVALID_ARGUMENT or RESOURCE_EXHAUSTED as Engine::Submit says. Thread safe.
absl::Status CheckRequest(const GenerationRequest& request, const model::VlModel& model,
                          int64_t kv_blocks_total, int64_t block_size_tokens);

// The same for Engine::LeaseBlocks.
absl::Status CheckLeaseRequest(const std::string& id, const GenerationRequest& prompt,
                               absl::Duration lease, const model::VlModel& model,
                               int64_t kv_blocks_total, int64_t block_size_tokens);

// INVALID_ARGUMENT names the option, its value and the bound.
absl::Status CheckOptions(const EngineOptions& options);

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_REQUEST_CHECK_H_
