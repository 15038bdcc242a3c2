// The single-threaded heart of the engine: queues, KV blocks, pictures and the steps over them.
#ifndef TESSERA_WORKER_ENGINE_STEP_LOOP_H_
#define TESSERA_WORKER_ENGINE_STEP_LOOP_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "services/base/clock.h"
#include "worker/engine/batch_builder.h"
#include "worker/engine/embedding_cache.h"
#include "worker/engine/engine.h"
#include "worker/engine/sequence.h"
#include "worker/kv/kv.h"
#include "worker/model/model.h"

namespace tessera::engine {

// Not thread safe.
class StepLoop {
 public:
  // Called with a request's id right before its sink's OnFinish.
  using FinishedCallback = std::function<void(const RequestId&)>;

  // model and clock outlive the loop; options have passed CheckOptions.
  StepLoop(model::VlModel& model, const EngineOptions& options, int64_t num_blocks,
           const Clock& clock, FinishedCallback on_finished);

  // The request has passed CheckRequest and its id is not here.
  void Add(GenerationRequest request, std::unique_ptr<EventSink> sink);
  void Cancel(const RequestId& id);  // takes effect in the next step
  // Ends what is due to end, then computes one step. False: nothing was done.
  bool Step();
  void FinishAll(FinishReason reason, const absl::Status& status);

  bool empty() const { return waiting_.empty() && running_.empty(); }
  EngineSnapshot Snapshot() const;

 private:
  using SequencePtr = std::unique_ptr<Sequence>;

  // Ends sequences that were cancelled, are past their deadline, complete or stalled.
  bool FinishDue();
  void Finish(SequencePtr sequence, FinishReason reason, const absl::Status& status);
  void FinishRunning(int64_t index, FinishReason reason, const absl::Status& status);

  // The next step's rows; admits waiting sequences and preempts running ones on the way.
  StepPlan Plan();
  bool TryAdmit();
  void PreemptYoungest();
  void ReferenceCachedPrefix(Sequence& sequence);
  void ReleaseMemory(Sequence& sequence);
  int64_t AvailableBlocks() const;
  int64_t ReservedBlocks() const;
  void PinCachedImages(Sequence& sequence);
  absl::Status EncodeImage(Sequence& sequence, int64_t image);

  void AllocateBlocks(Sequence& sequence, int64_t num_tokens);
  model::StepSequence StepInput(const Sequence& sequence, int64_t num_rows) const;
  absl::Status RunForward(const StepPlan& plan, int64_t num_logit_rows);
  void FailStep(const StepPlan& plan, const absl::Status& status);
  void ApplyStep(const StepPlan& plan);
  void Advance(Sequence& sequence, int64_t num_rows);
  void Sample(Sequence& sequence, absl::Span<const float> logits);

  model::VlModel& model_;
  const EngineOptions options_;
  const Clock& clock_;
  const FinishedCallback on_finished_;
  const int64_t vocab_size_;
  const int64_t hidden_size_;
  const int64_t context_tokens_;

  kv::KvStorage storage_;
  kv::BlockPool pool_;
  EmbeddingCache embeddings_;         // before the sequences: they hold pins
  std::vector<SequencePtr> running_;  // oldest first
  std::deque<SequencePtr> waiting_;   // oldest first
  absl::flat_hash_map<RequestId, Sequence*> by_id_;
  uint64_t next_arrival_ = 0;
  EngineSnapshot counters_;    // the monotonic ones
  std::vector<float> logits_;  // [max_batch_sequences, vocab]
  std::vector<float> sampler_scratch_;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_STEP_LOOP_H_
