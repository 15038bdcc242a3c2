// The calls of a handoff: Prefill on the rank that computes, OpenHandoff and PushKv on the rank
// that generates. Third-party types stand here because this is the gRPC edge itself; no other
// module includes it.
#ifndef TESSERA_WORKER_SERVICE_HANDOFF_H_
#define TESSERA_WORKER_SERVICE_HANDOFF_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "worker/engine/engine.h"
#include "worker/service/kv_sender.h"
#include "worker/service/kv_terms.h"
#include "worker/service/peer_calls.h"

namespace tessera::worker {

// ErrorInfo reason of an UNAVAILABLE that the decode rank is the cause of.
inline constexpr char kDecodeRankUnavailable[] = "DECODE_RANK_UNAVAILABLE";

// One rank of this rank's column and the layers that it holds.
struct ColumnRank {
  std::string address;  // host:port
  int64_t first_layer = 0;
  int64_t num_layers = 0;
};

struct HandoffOptions {
  KvTerms terms;
  int64_t block_size_tokens = 0;
  absl::Duration lease = absl::Seconds(30);  // asked for by the prefill side
  // The ranks of this rank's column in order of layers, itself first; empty: it stands in no epoch.
  // Thread safe. Not set: this rank takes no KV over.
  std::function<std::vector<ColumnRank>()> column;
  // Why prompts that are computed here cannot be handed over; OK: they can.
  absl::Status can_hand_over;
};

// What the calls share; all of it outlives them.
struct HandoffContext {
  engine::Engine& engine;
  const HandoffOptions& options;
  PeerCalls& peers;
  SendBudget& budget;
};

// The reactors delete themselves when their call is over. generation: the prompt, checked and with
// its deadline, under an id that this process never gives out again; it computes the first token.
grpc::ServerUnaryReactor* StartPrefill(const HandoffContext& context,
                                       const v1::PrefillRequest& request,
                                       engine::GenerationRequest generation,
                                       v1::PrefillResponse* response);
grpc::ServerUnaryReactor* StartOpenHandoff(const HandoffContext& context, absl::Time deadline,
                                           const v1::OpenHandoffRequest& request,
                                           v1::OpenHandoffResponse* response);

// Writes one message's rows; blocks: of the stream's first message. Thread safe.
using RowWriter =
    std::function<absl::Status(const v1::PushKvRequest& message, absl::Span<const int32_t> blocks)>;
// Rows that arrive after the call's deadline are refused: the lease may be over by then.
grpc::ServerReadReactor<v1::PushKvRequest>* StartPushKv(RowWriter writer, absl::Time deadline);

// A call that has its answer, or its refusal, at once.
grpc::ServerUnaryReactor* EndUnary(grpc::CallbackServerContext& context,
                                   const absl::Status& status);

// An engine's status as callers see it: a full queue carries the delay after which to try again, an
// UNAVAILABLE the reason kNotNow.
absl::Status WithQueueDelay(absl::Status status);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_HANDOFF_H_
