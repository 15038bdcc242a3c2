// What both ends of a handoff must agree on.
#ifndef TESSERA_WORKER_SERVICE_KV_TERMS_H_
#define TESSERA_WORKER_SERVICE_KV_TERMS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/model/model.h"

namespace tessera::v1 {
class OpenHandoffRequest;
}  // namespace tessera::v1

namespace tessera::worker {

struct KvTerms {
  std::string model_revision;  // hexadecimal
  std::string numerics;        // as WorkerDescription
  kernels::DType dtype = kernels::DType::kBF16;
  int64_t row_elements = 0;
  int64_t num_layers = 0;  // of the whole model

  int64_t row_bytes() const { return row_elements * static_cast<int64_t>(kernels::SizeOf(dtype)); }
};

void SetTerms(v1::OpenHandoffRequest& request, const KvTerms& terms);

// FAILED_PRECONDITION says what differs, and both values.
absl::Status CheckTerms(const v1::OpenHandoffRequest& request, const KvTerms& terms);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_KV_TERMS_H_
