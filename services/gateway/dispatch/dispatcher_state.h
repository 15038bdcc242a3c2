// What all sequences of a dispatcher share.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_DISPATCHER_STATE_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_DISPATCHER_STATE_H_

#include <atomic>
#include <memory>

#include "services/gateway/dispatch/dispatcher.h"
#include "services/gateway/dispatch/worker_channels.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::gateway {

struct Dispatcher::State {
  DispatchOptions options;
  std::unique_ptr<v1::RouterService::StubInterface> router;
  WorkerChannels workers;
  telemetry::Counter failovers;
  telemetry::Counter handoff_bytes;
  telemetry::Histogram prefill_time;
  telemetry::Histogram handoff_tail;
  // Of the cluster's workers, as the last placement said; 0: not known, or they differ.
  std::atomic<int32_t> kv_block_size_tokens{0};
  std::atomic<int64_t> active{0};
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_DISPATCHER_STATE_H_
