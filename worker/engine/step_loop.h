// The single-threaded heart of the engine: queues, KV blocks, pictures and the steps over them.
//
// A request is in one of three places: waiting (without memory), adopted (its K and V came from
// another rank; it holds its blocks and waits for a place in the batch) or running. Requests for
// leases wait in the same queue, so that neither kind overtakes the other; a granted lease is in
// the table of leases until it is adopted, given back or reclaimed.
#ifndef TESSERA_WORKER_ENGINE_STEP_LOOP_H_
#define TESSERA_WORKER_ENGINE_STEP_LOOP_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "services/base/clock.h"
#include "worker/engine/batch_builder.h"
#include "worker/engine/embedding_cache.h"
#include "worker/engine/engine.h"
#include "worker/engine/kv_exporter.h"
#include "worker/engine/kv_leases.h"
#include "worker/engine/sequence.h"
#include "worker/kv/kv.h"
#include "worker/model/model.h"

namespace tessera::engine {

// How a step's Forward went.
enum class ForwardOutcome {
  kDone,
  kFailed,       // the requests that it concerns have ended
  kGroupBroken,  // nothing of it was kept; the step may be computed again
};

// Not thread safe.
class StepLoop {
 public:
  // Called with a request's id right before its sink's OnFinish.
  using FinishedCallback = std::function<void(const RequestId&)>;

  // model and clock outlive the loop; options have passed CheckOptions.
  StepLoop(model::VlModel& model, const EngineOptions& options, int64_t num_blocks,
           const Clock& clock, FinishedCallback on_finished);

  // The request has passed CheckRequest and its id is not here. taken: the lease that it names.
  void Add(GenerationRequest request, std::unique_ptr<EventSink> sink,
           std::optional<TakenLease> taken = std::nullopt);
  void Cancel(const RequestId& id);  // takes effect in the next step
  void FinishAll(FinishReason reason, const absl::Status& status);

  // The prompt has passed CheckLeaseRequest.
  void AddLeaseRequest(GenerationRequest prompt, LeaseRequest lease);
  void ReleaseLease(const std::string& id);
  // No lease that is waited for is granted any more; status is not OK.
  void RefuseLeases(const absl::Status& status);
  KvLeases& leases() { return leases_; }

  // Ends what is due to end, plans the next step's rows and encodes the picture that they need.
  // False: there are none.
  bool Prepare();
  // One Forward over the planned rows, or over none.
  ForwardOutcome Compute();
  // Both, if rows are planned. False: nothing was done.
  bool Step();
  bool ended_some() const { return ended_some_; }  // in the last Sweep or Prepare

  // Ends sequences that were cancelled, are past their deadline or complete, and leases past
  // theirs. check_progress: also those that have stalled.
  void Sweep(bool check_progress);
  // All K and V are lost: sequences compute theirs again or are handed back, leases end.
  void ForgetKv();
  void LoseLeases();  // they end, with their blocks
  // Time that nobody could use does not count as a stall.
  void RestartProgress();

  bool empty() const { return waiting_.empty() && adopted_.empty() && running_.empty(); }
  EngineSnapshot Snapshot() const;

 private:
  using SequencePtr = std::unique_ptr<Sequence>;
  using End = std::pair<FinishReason, absl::Status>;

  std::optional<End> EndOf(const Sequence& sequence, absl::Time now) const;
  template <typename Sequences>
  void SweepSequences(Sequences& sequences, absl::Time now);
  void Finish(SequencePtr sequence, FinishReason reason, const absl::Status& status);
  void FinishRunning(int64_t index, FinishReason reason, const absl::Status& status);
  template <typename Sequences>
  static void Insert(Sequences& sequences, SequencePtr sequence);

  // The next step's rows; admits waiting sequences, grants leases and preempts on the way.
  StepPlan Plan();
  bool TryAdmit();
  void NoteAdmission(Sequence& sequence);
  void PreemptLast();
  void GiveUpKv(SequencePtr sequence, const absl::Status& status);
  void ReferenceCachedPrefix(Sequence& sequence, int64_t num_tokens);
  void ReleaseMemory(Sequence& sequence);
  int64_t AvailableBlocks() const;
  int64_t ReservedBlocks() const;
  void PinCachedImages(Sequence& sequence);
  absl::Status EncodeImage(Sequence& sequence, int64_t image);

  void AdoptLease(Sequence& sequence, TakenLease taken);
  bool TryGrantLease();
  bool LeaseFits(int64_t num_blocks, int64_t growth) const;
  void EndLease(TakenLease taken, uint64_t& count);

  void AllocateBlocks(Sequence& sequence, int64_t num_tokens);
  model::StepSequence StepInput(const Sequence& sequence, int64_t num_rows) const;
  absl::Status RunForward(int64_t num_logit_rows);
  void FailStep(const absl::Status& status);
  void ApplyStep();
  void Advance(Sequence& sequence, int64_t num_rows);
  void PublishFullBlocks(Sequence& sequence);
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
  KvLeases leases_;
  KvExporter exporter_;
  uint64_t kv_generation_ = 0;        // counts ForgetKv
  EmbeddingCache embeddings_;         // before the sequences: they hold pins
  std::vector<SequencePtr> running_;  // these three in the order of their turns
  std::deque<SequencePtr> adopted_;
  std::deque<SequencePtr> waiting_;
  absl::flat_hash_map<RequestId, Sequence*> by_id_;
  uint64_t next_arrival_ = 0;
  bool ended_some_ = false;
  StepPlan plan_;  // of the step between Prepare and Compute
  absl::Time step_start_;
  EngineSnapshot counters_;    // the monotonic ones
  std::vector<float> logits_;  // [max_batch_sequences, vocab]
  std::vector<float> sampler_scratch_;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_STEP_LOOP_H_
