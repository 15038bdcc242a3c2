// All ranks of a group in this process: leads step on the threads that the test gives them,
// followers on threads of their own.
#ifndef TESSERA_TESTS_WORKER_GROUP_RANK_GROUP_H_
#define TESSERA_TESTS_WORKER_GROUP_RANK_GROUP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernels/thread_pool.h"
#include "worker/group/group_model.h"
#include "worker/model/model_shard.h"
#include "worker/transport/communicator.h"

namespace tessera::group {

inline constexpr int64_t kNumBlocks = 192;
inline constexpr int64_t kBlockSize = 16;

using Placer =
    std::function<ExpertPlacement(const std::vector<int64_t>& experts_of_layer, int64_t columns)>;
// Puts something between a rank and its communicator. place: in the whole group.
using Wrapper = std::function<std::unique_ptr<transport::Communicator>(
    const GroupPlace& place, bool of_stage, std::unique_ptr<transport::Communicator> inner)>;

class RankGroup {
 public:
  // load: without a pool. Each rank loads its share of an even placement.
  RankGroup(const std::string& folder, const model::LoadOptions& load, const GroupShape& shape,
            const StepOptions& steps);
  ~RankGroup();

  // A new epoch of these columns of the group, which get their places in this order. Followers run
  // from here on.
  void Enter(const std::vector<int64_t>& columns, const Placer& placer = EvenPlacement,
             const Wrapper& wrap = nullptr);
  void EnterAll(const Placer& placer = EvenPlacement) { Enter(all_columns(), placer); }
  // Ends the epoch; followers have returned from their Run.
  void Leave();

  std::vector<int64_t> all_columns() const;
  GroupModel& lead(int64_t column) { return *ranks_[0][static_cast<size_t>(column)].lead; }
  GroupFollower& follower(int64_t stage, int64_t column) {
    return *ranks_[static_cast<size_t>(stage)][static_cast<size_t>(column)].follower;
  }
  model::ModelShard& shard(int64_t stage, int64_t column) {
    return *ranks_[static_cast<size_t>(stage)][static_cast<size_t>(column)].shard;
  }
  // Of the last Run, which has ended.
  const absl::Status& follower_status(int64_t stage, int64_t column) const {
    return ranks_[static_cast<size_t>(stage)][static_cast<size_t>(column)].status;
  }
  std::vector<int64_t> ExpertsOfLayer(int64_t stage);

 private:
  struct Rank {
    std::unique_ptr<kernels::ThreadPool> pool;
    std::unique_ptr<model::ModelShard> shard;
    std::unique_ptr<GroupModel> lead;
    std::unique_ptr<GroupFollower> follower;
    std::thread loop;
    absl::Status status;

    GroupRank& group_rank() {
      return lead ? static_cast<GroupRank&>(*lead) : static_cast<GroupRank&>(*follower);
    }
  };

  GroupShape shape_;
  uint64_t epoch_ = 0;
  std::vector<std::vector<Rank>> ranks_;  // [stage][column]
};

// Calls step(column) for each of the columns, all at once, and waits for all.
void OnThreads(const std::vector<int64_t>& columns, const std::function<void(int64_t)>& step);

}  // namespace tessera::group

#endif  // TESSERA_TESTS_WORKER_GROUP_RANK_GROUP_H_
