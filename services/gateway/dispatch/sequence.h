// The state machine of one answer: place → (prefill →) stream → (a worker fails → place again with
// the tokens so far) → end. One file per phase.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_SEQUENCE_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_SEQUENCE_H_

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/gateway/dispatch/dispatcher_state.h"
#include "services/gateway/dispatch/prompt_hashes.h"

namespace tessera::gateway {

// At any time at most one thing is under way for a sequence: a Place call, a Prefill call, a Decode
// stream or a back-off alarm. Each ends with a callback that starts the next one, so the callbacks
// never overlap, and only Cancel comes from other threads: the mutex guards what both sides touch.
// Only the giving back of a lease is sent off and not waited for.
class PlacedSequence final : public Sequence, public std::enable_shared_from_this<PlacedSequence> {
 public:
  PlacedSequence(std::shared_ptr<Dispatcher::State> dispatcher, SequenceRequest request,
                 std::shared_ptr<SequenceObserver> observer);
  ~PlacedSequence() override;

  void Start();
  void Cancel() override;

 private:
  class Stream;
  struct PlaceCall;
  struct PrefillCall;
  struct ReleaseCall;

  // From a route until it ends well or fails.
  struct Attempt {
    v1::Placement prefill;
    v1::Placement decode;  // the same worker unless the route is split
    uint64_t epoch = 0;
    std::string handoff_id;                   // of a split route
    size_t tokens_before = 0;                 // size of tokens_ when it began
    bool had_response = false;                // of the call that ended last
    bool protocol_broken = false;             // by that call
    Connection connection = Connection::kUp;  // when that call ended
    bool split() const { return prefill.worker_id() != decode.worker_id(); }
  };

  // placement.cc
  void Place();
  v1::PlaceRequest MakePlaceRequest();
  void OnPlaced(const grpc::Status& status, const v1::PlaceResponse& route);
  void OnNotPlaced(const absl::Status& status);
  void BackOff();

  // prefill.cc
  void StartPrefill();
  void OnPrefilled(const PrefillCall& call, const absl::Status& status);
  // Best effort: otherwise the lease ends at its deadline. Only for rows that have all arrived.
  void ReleaseHandoff();

  // decode_stream.cc
  void OpenStream();
  // False: the worker broke the protocol, and its stream is to be cancelled.
  bool OnResponse(const v1::DecodeResponse& response);
  void OnStreamDone(const absl::Status& status);

  // failover.cc
  // A call of the attempt ended badly; culprit: the worker that has to answer for it.
  void OnCallFailed(const v1::Placement& culprit, const absl::Status& status);
  void OnWorkerFailed(const v1::Placement& culprit, const absl::Status& status);
  // The failure counts against the request: it may have been the cause.
  bool Counts(const v1::Placement& culprit, const absl::Status& status) const;
  // The tokens so far already are a whole answer; only its end was lost.
  bool EndedByItself();

  // sequence.cc
  bool OnTokens(const v1::DecodedTokens& tokens);
  void SetFinished(const v1::DecodeFinished& finished);
  void End(absl::StatusOr<SequenceEnd> end);
  std::shared_ptr<SequenceObserver> observer();  // null once cancelled or ended
  // Makes the context cancellable; false: the sequence was cancelled before.
  bool SetContext(std::shared_ptr<grpc::ClientContext> context);

  const std::shared_ptr<Dispatcher::State> dispatcher_;
  const SequenceRequest request_;

  // Touched by callbacks alone.
  std::vector<int32_t> tokens_;  // received so far, over all workers
  PromptHashes hashes_;
  Attempt attempt_;
  bool finished_ = false;
  SequenceEnd end_;
  std::string numerics_;                // set by the first token: a failover must not change bits
  int64_t failures_ = 0;                // that count, without enough progress since
  std::set<std::string> excluded_ids_;  // not to be placed on while others live
  std::set<std::string> failed_addresses_;
  bool recovering_ = false;                      // a call failed, and no token has come since
  absl::Time give_up_ = absl::InfiniteFuture();  // waiting for a worker ends here
  absl::Duration backoff_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<SequenceObserver> observer_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_SEQUENCE_H_
