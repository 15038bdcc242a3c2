// The public API over gRPC.
#ifndef TESSERA_SERVICES_GATEWAY_API_INFERENCE_SERVICE_H_
#define TESSERA_SERVICES_GATEWAY_API_INFERENCE_SERVICE_H_

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "services/gateway/admission.h"
#include "services/gateway/api/request_preparer.h"
#include "services/gateway/dispatch/dispatcher.h"
#include "services/gateway/preprocessing_pool.h"
#include "services/telemetry/metrics.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tessera::gateway {

struct ModelDescription {
  std::string name;
  std::string revision;  // hexadecimal
  int64_t vocabulary_size = 0;
  int64_t context_tokens = 0;  // prompt and answer together
};

// Everything that calls share; all of it outlives them.
struct ApiContext {
  const RequestPreparer& preparer;
  const ModelDescription& model;
  Admission& admission;
  PreprocessingPool& pool;
  Dispatcher& dispatcher;
  telemetry::Metrics& metrics;
  absl::Duration default_deadline;  // of calls that bring none
};

// Implements tessera.v1.InferenceService. Thread safe.
std::unique_ptr<grpc::Service> MakeInferenceService(const ApiContext& context);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_INFERENCE_SERVICE_H_
