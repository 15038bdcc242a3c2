#include "worker/group/all_to_all_dispatch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::group {
namespace {

using kernels::ConstMat;
using kernels::Mat;

// Every part begins where values of any kind may stand.
constexpr int64_t kAlignment = 8;

int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

int64_t Sum(const std::vector<int64_t>& sizes) {
  int64_t sum = 0;
  for (const int64_t size : sizes) sum += size;
  return sum;
}

// Never shrinks: growing again would write zeros each time.
absl::Span<std::byte> Grown(std::vector<std::byte>& buffer, int64_t bytes) {
  if (static_cast<int64_t>(buffer.size()) < bytes) buffer.resize(static_cast<size_t>(bytes));
  return absl::MakeSpan(buffer).subspan(0, static_cast<size_t>(bytes));
}

template <typename T>
absl::Span<const std::byte> BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

AllToAllDispatch::AllToAllDispatch(const model::ModelShard& shard, transport::Communicator& ranks,
                                   const ExpertPlacement& placement, absl::Duration timeout,
                                   ExpertCounts* counts)
    : shard_(shard),
      ranks_(ranks),
      timeout_(timeout),
      counts_(counts),
      size_(ranks.size()),
      self_(ranks.rank()),
      payload_(shard.context().compute == kernels::Compute::kBF16 ? kernels::DType::kBF16
                                                                  : kernels::DType::kF32,
               shard.config().language.hidden_size) {
  for (const auto& layer : placement.holders) {
    auto& rank_of = rank_of_.emplace_back();
    for (const auto& holders : layer) rank_of.push_back(HolderFor(holders, self_));
  }
  outbound_.resize(static_cast<size_t>(size_));
  sent_.resize(static_cast<size_t>(size_));
  received_.resize(static_cast<size_t>(size_));
  send_sizes_.resize(static_cast<size_t>(size_));
  receive_sizes_.resize(static_cast<size_t>(size_));
}

absl::Time AllToAllDispatch::Deadline() const { return absl::Now() + timeout_; }

int64_t AllToAllDispatch::PartBytes(const Amount& amount) const {
  return Aligned(amount.rows * payload_.row_bytes()) +
         amount.choices * static_cast<int64_t>(sizeof(Choice));
}

absl::Status AllToAllDispatch::Start(int64_t layer, const model::RoutedRows& rows) {
  TESSERA_CHECK(rows.x.cols == payload_.cols() && rows.x.rows <= model::kMaxCollectiveRows)
      << rows.x.rows << " rows of width " << rows.x.cols;
  layer_ = layer;
  rows_ = rows;
  Sort(layer);
  TESSERA_RETURN_IF_ERROR(ExchangeAmounts());
  PackRows();
  pending_ = ranks_.StartAllToAllV({Grown(send_bytes_, Sum(send_sizes_)), send_sizes_},
                                   {Grown(receive_bytes_, Sum(receive_sizes_)), receive_sizes_});
  return absl::OkStatus();
}

void AllToAllDispatch::Sort(int64_t layer) {
  const std::vector<int32_t>& rank_of = rank_of_[static_cast<size_t>(layer)];
  std::vector<uint64_t>& counts = (*counts_)[static_cast<size_t>(layer)];
  for (Outbound& outbound : outbound_) {
    outbound.rows.clear();
    outbound.choices.clear();
  }
  last_row_.assign(static_cast<size_t>(size_), -1);
  home_ranks_.clear();
  home_slots_.clear();
  for (size_t i = 0; i < rows_.expert_ids.size(); ++i) {
    const auto row = static_cast<int32_t>(static_cast<int64_t>(i) / rows_.top_k);
    const int32_t expert = rows_.expert_ids[i];
    const int32_t rank = rank_of[static_cast<size_t>(expert)];
    Outbound& outbound = outbound_[static_cast<size_t>(rank)];
    if (last_row_[static_cast<size_t>(rank)] != row) {
      last_row_[static_cast<size_t>(rank)] = row;
      outbound.rows.push_back(row);
    }
    ++counts[static_cast<size_t>(expert)];
    home_ranks_.push_back(rank);
    home_slots_.push_back(static_cast<int32_t>(outbound.choices.size()));
    outbound.choices.push_back({static_cast<int32_t>(outbound.rows.size()) - 1, expert});
  }
}

absl::Status AllToAllDispatch::ExchangeAmounts() {
  for (int rank = 0; rank < size_; ++rank) {
    sent_[rank] = {static_cast<int32_t>(outbound_[rank].rows.size()),
                   static_cast<int32_t>(outbound_[rank].choices.size())};
    send_sizes_[rank] = receive_sizes_[rank] = sizeof(Amount);
  }
  TESSERA_RETURN_IF_ERROR(ranks_.AllToAllV(
      {BytesOf(sent_), send_sizes_},
      {{reinterpret_cast<std::byte*>(received_.data()), received_.size() * sizeof(Amount)},
       receive_sizes_},
      Deadline()));
  for (int rank = 0; rank < size_; ++rank) {
    const Amount& amount = received_[rank];
    if (amount.rows < 0 || amount.rows > model::kMaxCollectiveRows ||
        amount.choices < amount.rows || amount.choices > amount.rows * rows_.top_k) {
      return absl::InternalError(absl::StrCat("rank ", rank, " announces ", amount.rows,
                                              " rows with ", amount.choices, " choices"));
    }
    // What stays here is not sent.
    send_sizes_[rank] = rank == self_ ? 0 : PartBytes(sent_[rank]);
    receive_sizes_[rank] = rank == self_ ? 0 : PartBytes(amount);
  }
  return absl::OkStatus();
}

void AllToAllDispatch::PackRows() {
  std::byte* part = Grown(send_bytes_, Sum(send_sizes_)).data();
  for (int rank = 0; rank < size_; ++rank) {
    if (send_sizes_[rank] == 0) continue;
    const Outbound& outbound = outbound_[rank];
    std::byte* bytes = part;
    for (const int32_t row : outbound.rows) {
      payload_.Pack(rows_.x.row(row), bytes);
      bytes += payload_.row_bytes();
    }
    const absl::Span<const std::byte> choices = BytesOf(outbound.choices);
    std::memcpy(part + send_sizes_[rank] - choices.size(), choices.data(), choices.size());
    part += send_sizes_[rank];
  }
}

absl::StatusOr<model::ExpertWork> AllToAllDispatch::Wait() {
  TESSERA_CHECK(pending_ != nullptr) << "Wait without Start";
  const absl::Status arrived = std::exchange(pending_, nullptr)->Wait(Deadline());
  TESSERA_RETURN_IF_ERROR(arrived);
  TESSERA_RETURN_IF_ERROR(TakeInbound());
  TESSERA_RETURN_IF_ERROR(SortWork());
  return model::ExpertWork{x_, x_rows_, groups_, static_cast<int64_t>(inbound_.size())};
}

absl::Status AllToAllDispatch::TakeInbound() {
  int64_t num_rows = 0;
  for (const Amount& amount : received_) num_rows += amount.rows;
  x_ = inbound_rows_.Get(num_rows, payload_.cols());
  inbound_.clear();
  int32_t first_row = 0;
  const std::byte* part = receive_bytes_.data();
  for (int rank = 0; rank < size_; ++rank) {
    const Amount& amount = received_[rank];
    const size_t first_choice = inbound_.size();
    inbound_.resize(first_choice + static_cast<size_t>(amount.choices));
    if (rank == self_) {
      const Outbound& own = outbound_[rank];
      for (int32_t i = 0; i < amount.rows; ++i)
        std::copy_n(rows_.x.row(own.rows[i]), payload_.cols(), x_.row(first_row + i));
      std::copy(own.choices.begin(), own.choices.end(), inbound_.begin() + first_choice);
    } else if (receive_sizes_[rank] > 0) {
      for (int32_t i = 0; i < amount.rows; ++i)
        payload_.Unpack(part + i * payload_.row_bytes(), x_.row(first_row + i));
      const size_t bytes = static_cast<size_t>(amount.choices) * sizeof(Choice);
      part += receive_sizes_[rank];
      std::memcpy(&inbound_[first_choice], part - bytes, bytes);
    }
    for (size_t i = first_choice; i < inbound_.size(); ++i) {
      if (inbound_[i].row < 0 || inbound_[i].row >= amount.rows) {
        return absl::InternalError(absl::StrCat("rank ", rank, " sends a choice of row ",
                                                inbound_[i].row, " of ", amount.rows));
      }
      inbound_[i].row += first_row;
    }
    first_row += amount.rows;
  }
  return absl::OkStatus();
}

// A counting sort by expert.
absl::Status AllToAllDispatch::SortWork() {
  const absl::Span<const int32_t> here = shard_.experts(layer_);
  expert_index_.assign(rank_of_[static_cast<size_t>(layer_)].size(), -1);
  for (size_t i = 0; i < here.size(); ++i) expert_index_[here[i]] = static_cast<int32_t>(i);
  next_slot_.assign(here.size(), 0);
  for (const Choice& choice : inbound_) {
    if (choice.expert < 0 || choice.expert >= static_cast<int64_t>(expert_index_.size()) ||
        expert_index_[choice.expert] < 0) {
      return absl::InternalError(
          absl::StrCat("rows for expert ", choice.expert, ", which is not on this rank"));
    }
    ++next_slot_[expert_index_[choice.expert]];
  }
  groups_.clear();
  int64_t first_slot = 0;
  for (size_t i = 0; i < here.size(); ++i) {
    const int64_t count = next_slot_[i];
    next_slot_[i] = first_slot;
    if (count > 0) groups_.push_back({static_cast<int32_t>(i), first_slot, count});
    first_slot += count;
  }
  x_rows_.resize(inbound_.size());
  inbound_slots_.resize(inbound_.size());
  for (size_t i = 0; i < inbound_.size(); ++i) {
    const int64_t slot = next_slot_[expert_index_[inbound_[i].expert]]++;
    x_rows_[slot] = inbound_[i].row;
    inbound_slots_[i] = static_cast<int32_t>(slot);
  }
  return absl::OkStatus();
}

absl::Status AllToAllDispatch::Combine(ConstMat expert_out, Mat out) {
  for (int rank = 0; rank < size_; ++rank) {
    send_sizes_[rank] = rank == self_ ? 0 : received_[rank].choices * payload_.row_bytes();
    receive_sizes_[rank] = rank == self_ ? 0 : sent_[rank].choices * payload_.row_bytes();
  }
  const Mat outputs = outputs_.Get(static_cast<int64_t>(rows_.expert_ids.size()), payload_.cols());
  // Results go home in the order in which the choices came; those of own rows are home already.
  const absl::Span<std::byte> send = Grown(send_bytes_, Sum(send_sizes_));
  std::byte* bytes = send.data();
  size_t next = 0;  // of inbound_
  std::vector<int32_t>& first_output = last_row_;
  int32_t num_outputs = 0;
  for (int rank = 0; rank < size_; ++rank) {
    first_output[rank] = num_outputs;
    num_outputs += sent_[rank].choices;
    for (int32_t i = 0; i < received_[rank].choices; ++i) {
      const float* row = expert_out.row(inbound_slots_[next++]);
      if (rank == self_) {
        std::copy_n(row, payload_.cols(), outputs.row(first_output[rank] + i));
      } else {
        payload_.Pack(row, bytes);
        bytes += payload_.row_bytes();
      }
    }
  }
  const absl::Span<std::byte> receive = Grown(receive_bytes_, Sum(receive_sizes_));
  TESSERA_RETURN_IF_ERROR(
      ranks_.AllToAllV({send, send_sizes_}, {receive, receive_sizes_}, Deadline()));
  const std::byte* result = receive.data();
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == self_) continue;
    for (int32_t i = 0; i < sent_[rank].choices; ++i) {
      payload_.Unpack(result, outputs.row(first_output[rank] + i));
      result += payload_.row_bytes();
    }
  }
  if (out.rows == 0) return absl::OkStatus();
  for (size_t i = 0; i < home_slots_.size(); ++i) home_slots_[i] += first_output[home_ranks_[i]];
  const model::ComputeContext& context = shard_.context();
  context.table->moe_combine(*context.stream, outputs, home_slots_.data(), rows_.weights.data(),
                             rows_.top_k, out);
  return absl::OkStatus();
}

}  // namespace tessera::group
