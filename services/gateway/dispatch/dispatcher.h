// Brings a prepared prompt to a worker and its tokens back, and keeps doing so when workers fail:
// the public API never shows here.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_DISPATCHER_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_DISPATCHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/telemetry/metrics.h"

namespace tessera::v1 {
class Cluster;
class DecodeSampling;
class PreparedPrompt;
}  // namespace tessera::v1

namespace tessera::gateway {

struct DispatchOptions {
  std::string router_address;  // host:port
  // Workers that may fail a sequence before it fails. Those that cannot be reached, or say that
  // they cannot serve now, are waited for instead; some tokens of progress clear the count.
  int64_t max_attempts = 3;
  absl::Duration router_timeout = absl::Seconds(5);  // of one call to the router
  absl::Duration placement_patience =
      absl::Seconds(5);  // a new sequence waits so long for a worker: a router's restart and a
                         // group's re-forming take about two seconds
  absl::Duration recovery_patience =
      absl::Seconds(60);  // a broken one waits so long: a worker's restart takes seconds
  absl::Duration first_backoff = absl::Milliseconds(50);  // doubles
  absl::Duration max_backoff = absl::Seconds(1);
};

struct GeneratedToken {
  int32_t id = 0;
  bool has_logprobs = false;
  float logprob = 0;                           // natural logarithm
  std::vector<std::pair<int32_t, float>> top;  // most likely ids with theirs, best first
};

enum class EndReason { kStop, kLength };

struct SequenceEnd {
  EndReason reason = EndReason::kStop;
  int64_t cached_tokens = 0;  // prompt tokens whose KV came from a cache
};

// Called by one thread at a time, in order; OnEnd is the last call. Must not block.
class SequenceObserver {
 public:
  virtual ~SequenceObserver() = default;
  virtual void OnTokens(absl::Span<const GeneratedToken> tokens) = 0;
  // Error texts are fit for clients. UNAVAILABLE: no worker, or too many failed;
  // RESOURCE_EXHAUSTED: all full (with a retry delay); DEADLINE_EXCEEDED; INVALID_ARGUMENT and
  // INTERNAL as the worker said.
  virtual void OnEnd(const absl::StatusOr<SequenceEnd>& end) = 0;
};

struct SequenceRequest {
  std::string id;                                    // unique: the call's id and the choice
  std::string model_revision;                        // hexadecimal
  std::shared_ptr<const v1::PreparedPrompt> prompt;  // token_ids are the prompt alone
  std::shared_ptr<const v1::DecodeSampling> sampling;
  int32_t tiles = 0;
  int32_t priority = 0;                          // -100 to 100, higher is sooner
  absl::Time deadline = absl::InfiniteFuture();  // must be finite
};

// One answer in work. Thread safe.
class Sequence {
 public:
  virtual ~Sequence() = default;
  // The worker is told at once. The observer is not called any more, but for a call that is under
  // way in another thread.
  virtual void Cancel() = 0;
};

// Thread safe. Outlives its sequences' last callbacks if destroyed after all of them have ended or
// were cancelled and `active()` is 0.
class Dispatcher {
 public:
  // metrics: may be null.
  Dispatcher(DispatchOptions options, telemetry::Metrics* metrics);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Places the sequence and streams it. The observer lives until its OnEnd or Cancel.
  std::shared_ptr<Sequence> Start(SequenceRequest request,
                                  std::shared_ptr<SequenceObserver> observer);

  // Sequences whose calls to router or worker have not ended yet.
  int64_t active() const;

  // Asks the router for its view; blocks up to router_timeout.
  absl::StatusOr<std::unique_ptr<v1::Cluster>> GetCluster();

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_DISPATCHER_H_
