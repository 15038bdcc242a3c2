// A model that runs on the ranks of a group, as the engine of one of them sees it: a VlModel whose
// Forward is one step of the whole group.
//
// A group is stages × columns. Column c is the pipeline of ranks (0, c) … (stages - 1, c) that owns
// its requests and their KV, each stage the KV of its layers under the same block ids. Rank (0, c)
// leads: it has the engine and the ends of the model. The ranks of a stage share the stage's
// experts. A step:
//   1. the leads agree on the number of micro-batches (the largest that any of them needs; none:
//      nobody had rows, the step is over);
//   2. per micro-batch each lead embeds its rows, runs its layers (two exchanges per MoE layer
//      among the ranks of the stage) and sends the rows to the next stage, and so on;
//   3. the last stage returns the rows that logits are asked of, and the lead computes those.
// Which rank computes an expert, and in which micro-batch, leaves no trace in the bits.
#ifndef TESSERA_WORKER_GROUP_GROUP_MODEL_H_
#define TESSERA_WORKER_GROUP_GROUP_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/base/clock.h"
#include "worker/group/expert_placement.h"
#include "worker/model/model_shard.h"
#include "worker/transport/communicator.h"

namespace tessera::group {

struct GroupShape {
  int64_t stages = 1;
  int64_t columns = 1;
};

// The place of a rank. Its number among all ranks of the group is stage * columns + column.
struct GroupPlace {
  int64_t stage = 0;
  int64_t column = 0;
};

struct StepOptions {
  // A peer that takes longer than this for its part of a step is given up; the transport and the
  // router notice deaths sooner.
  absl::Duration step_timeout = absl::Seconds(60);
  // Micro-batches that a step is cut into with more than one stage, if it has so many sequences.
  int64_t micro_batches = 2;
};

// What one rank's communicators and placement are in one epoch. all: every rank, by number; stage:
// the ranks of this rank's stage, by column; null where there is one rank.
struct GroupEpoch {
  uint64_t number = 0;
  GroupShape shape;
  GroupPlace place;
  std::unique_ptr<transport::Communicator> all;
  std::unique_ptr<transport::Communicator> stage;
  ExpertPlacement placement;  // of this rank's stage
};

// [local layer][global expert id], a dense layer's empty: rows routed to it by this rank's
// requests. Nothing is counted with one column, where there is no choice of rank.
using ExpertCounts = std::vector<std::vector<uint64_t>>;

// Both kinds of rank: joins epochs, keeps the shard's experts as the placement says.
class GroupRank {
 public:
  virtual ~GroupRank() = default;
  // Between steps only, on the thread that steps. Loads what the placement asks of this rank, then
  // drops what it does not. Fails as ModelShard::LoadExpert.
  virtual absl::Status Enter(GroupEpoch epoch) = 0;
  // Aborts the communicators of the current epoch, if there is one: a step under way fails with
  // kGroupBrokenPayload. Thread safe.
  virtual void Abort() = 0;
  virtual ExpertCounts TakeExpertCounts() = 0;  // since the last call; between steps only
};

// A lead's view. Before the first Enter, and after a failed step until the next, Forward fails with
// engine::kGroupBrokenPayload. An error of one sequence on one rank (a logit that is not finite) is
// that rank's alone and breaks nothing.
// kv_layout() is of the layers of this rank. A probe sees what is computed here, micro-batch by
// micro-batch: embeddings and the layers of this rank, neither the final norm nor all logits.
class GroupModel : public GroupRank, public model::VlModel {
 public:
  // shard: of stage 0, with the ends; outlives the model.
  static std::unique_ptr<GroupModel> Create(model::ModelShard& shard, const StepOptions& options);
  virtual bool AnyRankHadRows() const = 0;  // in the last Forward that did not fail
  // Forwards of this epoch that all leads have taken part in; the same on each of them between
  // steps. Thread safe.
  virtual uint64_t steps_of_epoch() const = 0;
};

// The ranks of the later stages: no engine, they compute what their column's lead sends.
class GroupFollower : public GroupRank {
 public:
  // shard: of its stage; outlives the follower. num_blocks, block_size_tokens: as its lead's.
  static absl::StatusOr<std::unique_ptr<GroupFollower>> Create(model::ModelShard& shard,
                                                               int64_t num_blocks,
                                                               int64_t block_size_tokens,
                                                               const StepOptions& options);
  // Takes part in steps until one fails, which it returns: UNAVAILABLE, CANCELLED … as transport.
  // Idle, it waits for its lead without a deadline; Abort ends that.
  virtual absl::Status Run() = 0;

  // Pages of a handoff: see engine::Engine::WriteRows. The blocks are those of the lead's lease.
  // Thread safe. INVALID_ARGUMENT: a layer, block or size that is not here.
  virtual absl::Status WriteRows(int64_t local_layer, absl::Span<const int32_t> blocks,
                                 int64_t first_position, absl::Span<const std::byte> rows) = 0;
};

}  // namespace tessera::group

#endif  // TESSERA_WORKER_GROUP_GROUP_MODEL_H_
