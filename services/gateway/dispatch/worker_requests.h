// What a sequence asks of a worker.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_WORKER_REQUESTS_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_WORKER_REQUESTS_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "services/gateway/dispatch/dispatcher.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::gateway {

// generated: the answer so far; epoch: of the route. The rank computes prompt and answer so far.
v1::DecodeRequest ComputeRequest(const SequenceRequest& sequence,
                                 absl::Span<const int32_t> generated, uint64_t epoch);

// As above for a rank that has been given the KV of all but the last generated token: without
// tiles.
v1::DecodeRequest ContinueRequest(const SequenceRequest& sequence,
                                  absl::Span<const int32_t> generated, uint64_t epoch,
                                  const std::string& handoff_id);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_WORKER_REQUESTS_H_
