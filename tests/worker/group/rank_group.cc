#include "tests/worker/group/rank_group.h"

#include <numeric>
#include <utility>

#include "gtest/gtest.h"
#include "worker/model/layer_split.h"
#include "worker/transport/transport.h"

namespace tessera::group {
namespace {

using Communicators = std::vector<std::unique_ptr<transport::Communicator>>;

Communicators MakeIfMany(int64_t size) {
  if (size == 1) return Communicators(1);
  return transport::MakeInProcess(static_cast<int>(size));
}

}  // namespace

RankGroup::RankGroup(const std::string& folder, const model::LoadOptions& load,
                     const GroupShape& shape, const StepOptions& steps)
    : shape_(shape) {
  const model::ModelConfig config = *model::ReadModelConfig(folder);
  const std::vector<model::LayerRange> ranges = *model::SplitLayers(config, shape.stages);
  const int64_t experts = config.language.n_routed_experts.value_or(0);
  for (int64_t stage = 0; stage < shape.stages; ++stage) {
    auto& columns = ranks_.emplace_back();
    for (int64_t column = 0; column < shape.columns; ++column) {
      Rank& rank = columns.emplace_back();
      rank.pool = std::make_unique<kernels::ThreadPool>(1);
      model::ShardSpec spec{ranges[stage].first, ranges[stage].num, {}, stage == 0};
      for (int32_t e = 0; shape.columns > 1 && e < experts; ++e) {
        if (e * shape.columns / experts == column) spec.experts.push_back(e);
      }
      model::LoadOptions options = load;
      options.pool = rank.pool.get();
      auto shard = model::ModelShard::Load(folder, options, spec);
      EXPECT_TRUE(shard.ok()) << shard.status();
      rank.shard = *std::move(shard);
      if (stage == 0) {
        rank.lead = GroupModel::Create(*rank.shard, steps);
      } else {
        rank.follower = *GroupFollower::Create(*rank.shard, kNumBlocks, kBlockSize, steps);
      }
    }
  }
}

RankGroup::~RankGroup() { Leave(); }

void RankGroup::Leave() {
  for (auto& stage : ranks_) {
    for (Rank& rank : stage) rank.group_rank().Abort();
  }
  for (auto& stage : ranks_) {
    for (Rank& rank : stage) {
      if (rank.loop.joinable()) rank.loop.join();
    }
  }
}

void RankGroup::Enter(const std::vector<int64_t>& columns, const Placer& placer,
                      const Wrapper& wrap) {
  Leave();
  ++epoch_;
  const auto num_columns = static_cast<int64_t>(columns.size());
  Communicators all = MakeIfMany(shape_.stages * num_columns);
  for (int64_t stage = 0; stage < shape_.stages; ++stage) {
    Communicators of_stage = MakeIfMany(num_columns);
    for (int64_t column = 0; column < num_columns; ++column) {
      const GroupPlace place{stage, columns[static_cast<size_t>(column)]};
      GroupEpoch epoch;
      epoch.number = epoch_;
      epoch.shape = {shape_.stages, num_columns};
      epoch.place = {stage, column};
      epoch.all = std::move(all[static_cast<size_t>(stage * num_columns + column)]);
      epoch.stage = std::move(of_stage[static_cast<size_t>(column)]);
      if (wrap) {
        epoch.all = wrap(place, false, std::move(epoch.all));
        epoch.stage = wrap(place, true, std::move(epoch.stage));
      }
      epoch.placement = placer(ExpertsOfLayer(stage), num_columns);
      Rank& rank = ranks_[static_cast<size_t>(stage)][static_cast<size_t>(place.column)];
      const absl::Status entered = rank.group_rank().Enter(std::move(epoch));
      EXPECT_TRUE(entered.ok()) << entered;
    }
  }
  for (int64_t stage = 1; stage < shape_.stages; ++stage) {
    for (const int64_t column : columns) {
      Rank& rank = ranks_[static_cast<size_t>(stage)][static_cast<size_t>(column)];
      rank.loop = std::thread([&rank] { rank.status = rank.follower->Run(); });
    }
  }
}

std::vector<int64_t> RankGroup::all_columns() const {
  std::vector<int64_t> columns(static_cast<size_t>(shape_.columns));
  std::iota(columns.begin(), columns.end(), 0);
  return columns;
}

std::vector<int64_t> RankGroup::ExpertsOfLayer(int64_t stage) {
  const model::ModelShard& any = shard(stage, 0);
  const model::LanguageConfig& language = any.config().language;
  std::vector<int64_t> experts;
  for (int64_t i = 0; i < any.spec().num_layers; ++i) {
    experts.push_back(language.IsMoeLayer(any.spec().first_layer + i) ? *language.n_routed_experts
                                                                      : 0);
  }
  return experts;
}

void OnThreads(const std::vector<int64_t>& columns, const std::function<void(int64_t)>& step) {
  std::vector<std::thread> threads;
  for (const int64_t column : columns) threads.emplace_back([&step, column] { step(column); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tessera::group
