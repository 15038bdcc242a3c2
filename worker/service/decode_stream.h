// One Decode call: takes the engine's events, writes them to the caller as it reads. Third-party
// types stand here because this is the gRPC edge itself; no other module includes it.
#ifndef TESSERA_WORKER_SERVICE_DECODE_STREAM_H_
#define TESSERA_WORKER_SERVICE_DECODE_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "tessera/v1/worker.pb.h"
#include "worker/engine/engine.h"

namespace tessera::worker {

// ErrorInfo reason of an UNAVAILABLE whose request another rank can go on with: nothing is wrong
// with this one, it has only given up the request's keys and values.
inline constexpr char kPreempted[] = "PREEMPTED";
// ErrorInfo reason of an UNAVAILABLE that says nothing against this worker: it drains, or its group
// re-forms. The request may come again, here or elsewhere.
inline constexpr char kNotNow[] = "NOT_NOW";

// Tokens that come while a write is under way are sent together in the next one. At most
// max_buffered_tokens wait: a caller that reads more slowly loses the call (RESOURCE_EXHAUSTED).
//
// Deletes itself when the call is over. The call is finished only after the engine's OnFinish (or
// by Refuse), so the engine's sink may point here. Thread safe.
class DecodeStream final : public grpc::ServerWriteReactor<v1::DecodeResponse> {
 public:
  // cancel: asks the engine to end the request; thread safe, callable on the engine's thread.
  DecodeStream(size_t max_buffered_tokens, std::function<void()> cancel)
      : max_buffered_tokens_(max_buffered_tokens), cancel_(std::move(cancel)) {}

  // Exactly one of the two: a sink that the engine has accepted, or Refuse.
  std::unique_ptr<engine::EventSink> MakeSink();
  void Refuse(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  class Sink;
  struct End {
    engine::FinishReason reason;
    absl::Status status;
    engine::Usage usage;
  };
  enum class Action { kNothing, kWrite, kWriteLast, kFinish };

  void AddToken(const engine::TokenEvent& event);
  void SetEnd(End end);
  // What to do next; what it needs is left in response_ and end_.
  Action NextAction();  // caller holds mutex_
  // Caller does not hold mutex_: after the last action the stream may be gone.
  void Perform(Action action);

  const size_t max_buffered_tokens_;
  const std::function<void()> cancel_;

  std::mutex mutex_;  // guards all below
  std::vector<engine::TokenEvent> pending_;
  std::optional<End> end_;
  bool writing_ = false;  // response_ belongs to gRPC
  bool broken_ = false;   // nothing more reaches the caller
  bool overflowed_ = false;
  bool finishing_ = false;  // Finish was or is being called
  v1::DecodeResponse response_;
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_DECODE_STREAM_H_
