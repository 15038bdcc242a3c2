// Experts on the ranks of a stage: routed rows travel to the ranks that hold their experts, and
// each expert's output travels home on its own.
#ifndef TESSERA_WORKER_GROUP_ALL_TO_ALL_DISPATCH_H_
#define TESSERA_WORKER_GROUP_ALL_TO_ALL_DISPATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/group/expert_placement.h"
#include "worker/group/group_model.h"
#include "worker/group/row_payload.h"
#include "worker/model/expert_dispatch.h"
#include "worker/model/model_shard.h"
#include "worker/model/scratch.h"
#include "worker/transport/communicator.h"

namespace tessera::group {

// A row goes once to each rank that computes any of its choices. With Compute::kBF16 rows travel as
// bf16: GEMMs round their input to it anyway, and the outputs have been rounded before Combine.
// Buffers grow to the largest step and stay. Of the thread that steps.
class AllToAllDispatch final : public model::ExpertDispatch {
 public:
  // ranks: those of the stage, by column. placement: checked, and the shard holds what it asks of
  // this rank. timeout: of each exchange. counts: gets the rows per [local layer][expert] that
  // Start is called with. All but the placement outlive this.
  AllToAllDispatch(const model::ModelShard& shard, transport::Communicator& ranks,
                   const ExpertPlacement& placement, absl::Duration timeout, ExpertCounts* counts);

  bool collective() const override { return true; }
  // Fails as the communicator; INTERNAL: a peer sends what cannot be.
  absl::Status Start(int64_t layer, const model::RoutedRows& rows) override;
  absl::StatusOr<model::ExpertWork> Wait() override;
  absl::Status Combine(kernels::ConstMat expert_out, kernels::Mat out) override;

 private:
  // A choice of a row that lives on a rank, as that rank sees it.
  struct Choice {
    int32_t row = 0;  // among the rows that go to the rank
    int32_t expert = 0;
  };
  // What goes to one rank, this one included.
  struct Outbound {
    std::vector<int32_t> rows;  // of the step
    std::vector<Choice> choices;
  };
  // How much goes from one rank to another.
  struct Amount {
    int32_t rows = 0;
    int32_t choices = 0;
  };
  static_assert(sizeof(Choice) == 8 && sizeof(Amount) == 8);

  void Sort(int64_t layer);  // rows_ → outbound_, home_slots_
  absl::Status ExchangeAmounts();
  void PackRows();
  absl::Status TakeInbound();  // what has come, and what stays → x_, inbound_
  absl::Status SortWork();     // inbound_ → groups_, x_rows_, inbound_slots_

  absl::Time Deadline() const;
  int64_t PartBytes(const Amount& amount) const;  // of rows and choices that travel

  const model::ModelShard& shard_;
  transport::Communicator& ranks_;
  const absl::Duration timeout_;
  ExpertCounts* const counts_;
  const int size_;
  const int self_;
  const RowPayload payload_;
  std::vector<std::vector<int32_t>> rank_of_;  // [local layer][expert]: whom this rank's rows go to

  // Of the step.
  int64_t layer_ = 0;
  model::RoutedRows rows_;
  std::vector<Outbound> outbound_;   // [ranks]
  std::vector<int32_t> last_row_;    // [ranks]: the last of this step's rows for the rank
  std::vector<int32_t> home_ranks_;  // [rows, top_k]
  std::vector<int32_t> home_slots_;  // [rows, top_k]: first among the rank's choices, then
                                     // among all, rank by rank
  std::vector<Amount> sent_;         // [ranks]
  std::vector<Amount> received_;     // [ranks]
  std::vector<int64_t> send_sizes_;  // [ranks], bytes
  std::vector<int64_t> receive_sizes_;
  std::vector<std::byte> send_bytes_;
  std::vector<std::byte> receive_bytes_;
  std::unique_ptr<transport::PendingExchange> pending_;

  std::vector<Choice> inbound_;     // rank by rank; rows count over all ranks
  model::ScratchMat inbound_rows_;  // rank by rank
  kernels::Mat x_;
  std::vector<int32_t> expert_index_;   // [experts] → among those of the layer here, or -1
  std::vector<int64_t> next_slot_;      // [experts here]
  std::vector<int32_t> inbound_slots_;  // slot of each of inbound_
  std::vector<int32_t> x_rows_;         // [slots]
  std::vector<model::ExpertWork::Group> groups_;
  model::ScratchMat outputs_;  // [rows * top_k, hidden]: results, rank by rank
};

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_ALL_TO_ALL_DISPATCH_H_
