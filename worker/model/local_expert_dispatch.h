// All experts on this rank: dispatch is a counting sort, nothing is copied.
#ifndef TESSERA_WORKER_MODEL_LOCAL_EXPERT_DISPATCH_H_
#define TESSERA_WORKER_MODEL_LOCAL_EXPERT_DISPATCH_H_

#include <cstdint>
#include <vector>

#include "worker/model/compute_context.h"
#include "worker/model/expert_dispatch.h"

namespace tessera::model {

class LocalExpertDispatch final : public ExpertDispatch {
 public:
  LocalExpertDispatch(const ComputeContext& context, int64_t num_experts);

  bool collective() const override { return false; }
  absl::Status Start(int64_t layer, const RoutedRows& rows) override;
  absl::StatusOr<ExpertWork> Wait() override;
  absl::Status Combine(kernels::ConstMat expert_out, kernels::Mat out) override;

 private:
  ComputeContext context_;
  int64_t num_experts_;
  RoutedRows rows_;
  std::vector<int64_t> next_slot_;  // [num_experts]
  std::vector<int32_t> x_rows_;     // [slots]
  std::vector<int32_t> slots_;      // [rows, top_k]
  std::vector<ExpertWork::Group> groups_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_LOCAL_EXPERT_DISPATCH_H_
