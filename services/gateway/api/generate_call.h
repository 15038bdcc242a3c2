// One Generate call from its bytes to its status.
#ifndef TESSERA_SERVICES_GATEWAY_API_GENERATE_CALL_H_
#define TESSERA_SERVICES_GATEWAY_API_GENERATE_CALL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/gateway/admission.h"
#include "services/gateway/api/answer_writer.h"
#include "services/gateway/api/inference_service.h"
#include "tessera/v1/inference.pb.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::gateway {

// Events come from gRPC (writes, cancellation), from the preprocessing pool and from up to eight
// sequences; the mutex orders them. gRPC, sequences and the pool are called without it, because
// they may call back in the same thread.
class GenerateCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(const ApiContext& api, grpc::CallbackServerContext* context);
  // Takes the call up; the reactor frees itself after gRPC's OnDone.
  void Begin(const grpc::ByteBuffer& bytes);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  class Observer;
  struct Choice {
    std::unique_ptr<AnswerWriter> writer;
    std::shared_ptr<Sequence> sequence;
    absl::Time last_token = absl::InfinitePast();
    bool done = false;
  };

  void Prepare(const grpc::ByteBuffer& bytes);
  absl::Status PrepareRequest(const v1::GenerateRequest& request);
  void StartChoice(int32_t index);
  void OnTokens(int32_t index, absl::Span<const GeneratedToken> tokens);
  void OnEnd(int32_t index, const absl::StatusOr<SequenceEnd>& end);
  void ObserveTokens(Choice& choice, int64_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AppendAll(std::vector<v1::GenerateResponse> events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CompleteIfAllDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The call ends with this status once the queued events are written (OK) or at once (errors).
  void Fail(const absl::Status& status);
  void SetEnd(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::shared_ptr<Sequence>> TakeSequences() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts the next write or the end, whichever is due.
  void Advance();

  const ApiContext& api_;
  grpc::CallbackServerContext* const context_;
  const absl::Time started_ = absl::Now();
  absl::Time deadline_;
  Admission::Ticket ticket_;
  std::string request_id_;              // fixed before the first sequence starts
  std::shared_ptr<GenerateCall> self_;  // until OnDone
  std::atomic<bool> stopped_{false};    // for the pool's job

  // Written by the pool's job before the first sequence starts.
  std::shared_ptr<const v1::PreparedPrompt> prompt_;
  v1::DecodeSampling sampling_;
  int32_t num_tiles_ = 0;
  int32_t priority_ = 0;
  int64_t image_tokens_ = 0;

  absl::Mutex mutex_;
  std::vector<Choice> choices_ ABSL_GUARDED_BY(mutex_);
  bool others_started_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t cached_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<v1::GenerateResponse> queue_ ABSL_GUARDED_BY(mutex_);
  bool headers_set_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;      // end_ is set
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was called
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer write_buffer_;  // of the write under way
};

// "x-request-id" of a call that brought none, or a bad one.
std::string NewRequestId();

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_GENERATE_CALL_H_
