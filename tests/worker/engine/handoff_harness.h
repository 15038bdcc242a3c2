// A handoff between two engines that this thread steps.
#ifndef TESSERA_TESTS_WORKER_ENGINE_HANDOFF_HARNESS_H_
#define TESSERA_TESTS_WORKER_ENGINE_HANDOFF_HARNESS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/worker/engine/engine_harness.h"
#include "worker/engine/engine.h"

namespace tessera::engine::testing {

// What a prefill side has handed over.
struct Exported {
  struct Rows {
    int64_t layer = 0;
    int64_t first_position = 0;
    int64_t num_rows = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<Rows> rows;
  int num_completions = 0;
  std::shared_ptr<Outcome> outcome;  // if set: no token may have come before the completion
};

std::shared_ptr<KvExport> ExportTo(std::shared_ptr<Exported> exported);

// Each row of [from, num_tokens) once, in order, in each of the layers.
void ExpectAllRowsOnce(const Exported& exported, int64_t num_layers, int64_t from,
                       int64_t num_tokens);

GenerationRequest WithoutTiles(GenerationRequest request);

std::shared_ptr<Outcome> SubmitTo(Engine& engine, GenerationRequest request);
// Steps until nothing runs or waits.
void RunDry(Engine& engine);

// What LeaseBlocks has answered so far.
using LeaseAnswer = std::shared_ptr<std::optional<absl::StatusOr<KvLease>>>;
LeaseAnswer AskForLease(Engine& engine, const std::string& id, const GenerationRequest& prompt,
                        absl::Duration lease = absl::Seconds(30));

// The request that goes on after a handoff.
GenerationRequest Continuation(const GenerationRequest& request, const std::string& lease_id,
                               const std::vector<int32_t>& tokens);

struct Handoff {
  std::vector<TokenEvent> events;  // of both sides
  std::vector<int32_t> tokens;
  FinishReason reason = FinishReason::kError;
  absl::Status status;
  Usage usage;       // of the side that came last
  int64_t from = 0;  // rows that the decode side had
  std::shared_ptr<Exported> exported;
};

// Prefill on one engine, the rest on the other; both have nothing else to do.
Handoff HandOver(Engine& prefill, Engine& decode, const GenerationRequest& request);

}  // namespace tessera::engine::testing

#endif  // TESSERA_TESTS_WORKER_ENGINE_HANDOFF_HARNESS_H_
