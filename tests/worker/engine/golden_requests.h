// The golden cases of a model as requests.
#ifndef TESSERA_TESTS_WORKER_ENGINE_GOLDEN_REQUESTS_H_
#define TESSERA_TESTS_WORKER_ENGINE_GOLDEN_REQUESTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/engine/engine.h"
#include "worker/model/model.h"

namespace tessera::engine::testing {

struct GoldenRequest {
  GenerationRequest request;
  std::vector<int32_t> expected;  // the reference's tokens
};

// Each case past the end token; and up to it, where one occurs. dir: of the model.
std::vector<GoldenRequest> ReadGoldenRequests(const model::VlModel& model, const std::string& dir);

}  // namespace tessera::engine::testing

#endif  // TESSERA_TESTS_WORKER_ENGINE_GOLDEN_REQUESTS_H_
