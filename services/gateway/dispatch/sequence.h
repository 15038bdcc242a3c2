// The state machine of one answer: place → stream → (worker fails → place again with the tokens so
// far) → end.
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

namespace tessera::gateway {

// At any time at most one thing is under way for a sequence: a Place call, a Decode stream or a
// back-off alarm. Each ends with a callback that starts the next one, so the callbacks never
// overlap, and only Cancel comes from other threads: the mutex guards what both sides touch.
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

  void Place();
  void OnPlaced(const grpc::Status& status, const v1::PlaceResponse& route);
  void OnNotPlaced(const absl::Status& status);
  void OpenStream(const v1::PlaceResponse& route);
  v1::DecodeRequest MakeDecodeRequest() const;
  // False: the worker broke the protocol, and its stream is to be cancelled.
  bool OnResponse(const v1::DecodeResponse& response);
  bool OnTokens(const v1::DecodedTokens& tokens);
  void OnStreamDone(const absl::Status& status);
  void OnWorkerFailed(const absl::Status& status);
  // The tokens so far already are a whole answer; only its end was lost.
  bool EndedByItself();
  void BackOff();

  void End(absl::StatusOr<SequenceEnd> end);
  std::shared_ptr<SequenceObserver> observer();  // null once cancelled or ended
  // Makes the context cancellable; false: the sequence was cancelled before.
  bool SetContext(std::shared_ptr<grpc::ClientContext> context);

  const std::shared_ptr<Dispatcher::State> dispatcher_;
  const SequenceRequest request_;

  // Touched by callbacks alone.
  std::vector<int32_t> tokens_;  // received so far, over all workers
  v1::Placement worker_;         // of the current stream
  uint64_t epoch_ = 0;
  bool stream_had_response_ = false;
  bool worker_is_connected_ = false;  // when its stream ended
  bool protocol_broken_ = false;
  bool finished_ = false;
  SequenceEnd end_;
  std::string numerics_;  // set by the first token: a failover must not change bits
  int64_t failures_ = 0;
  std::set<std::string> excluded_ids_;  // not to be placed on while others live
  std::set<std::string> failed_addresses_;
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
