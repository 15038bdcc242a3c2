#include "router/group/exchange_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::router {
namespace {

absl::Status CheckPart(const ExchangeTable::Part& part, int32_t ranks) {
  if (part.rank < 0 || part.rank >= ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: is ", part.rank, ", must be 0 to ", ranks - 1));
  }
  if (part.round.size() > kMaxRoundNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "round: has ", part.round.size(), " bytes, at most ", kMaxRoundNameBytes, " are allowed"));
  }
  if (part.data.size() > kMaxExchangeBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data: has ", part.data.size(), " bytes, at most ", kMaxExchangeBytes, " are allowed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> ExchangeTable::Add(Part part, int32_t ranks, Answer answer) {
  TESSERA_RETURN_IF_ERROR(CheckPart(part, ranks));
  const Key key{part.group, part.round};
  if (rounds_.count(key) == 0 && RoundsOf(part.group) >= kMaxExchangeRounds) {
    return absl::ResourceExhaustedError(
        absl::StrCat("round: ", kMaxExchangeRounds, " are open in this epoch"));
  }
  Round& round = rounds_[key];
  round.epoch = part.epoch;
  const uint64_t ticket = next_ticket_++;
  if (const auto earlier = round.calls.find(part.rank); earlier != round.calls.end()) {
    earlier->second.answer(absl::AbortedError("the rank came again"));
    keys_.erase(earlier->second.ticket);
    round.calls.erase(earlier);
  }
  round.calls.emplace(part.rank, Call{ticket, std::move(part.data), std::move(answer)});
  keys_.emplace(ticket, key);
  if (static_cast<int32_t>(round.calls.size()) == ranks) {
    EndRound(rounds_.find(key), absl::OkStatus());
  }
  return ticket;
}

void ExchangeTable::Remove(uint64_t ticket) {
  const auto key = keys_.find(ticket);
  if (key == keys_.end()) return;
  const auto round = rounds_.find(key->second);
  std::erase_if(round->second.calls,
                [&](const auto& entry) { return entry.second.ticket == ticket; });
  if (round->second.calls.empty()) rounds_.erase(round);
  keys_.erase(key);
}

void ExchangeTable::AbortOthers(const std::string& group, uint64_t epoch) {
  for (auto it = rounds_.lower_bound({group, ""}); it != rounds_.end();) {
    const auto round = it++;
    if (round->first.first != group) return;
    if (round->second.epoch != epoch) EndRound(round, absl::AbortedError("the epoch is over"));
  }
}

void ExchangeTable::EndAll(const absl::Status& reason) {
  while (!rounds_.empty()) EndRound(rounds_.begin(), reason);
}

// OK: all parts are there and everybody gets them.
void ExchangeTable::EndRound(std::map<Key, Round>::iterator round, const absl::Status& reason) {
  absl::StatusOr<std::vector<std::string>> parts = std::vector<std::string>();
  if (!reason.ok()) parts = reason;
  for (auto& [rank, call] : round->second.calls) {
    if (parts.ok()) parts->push_back(std::move(call.data));
    keys_.erase(call.ticket);
  }
  for (const auto& [rank, call] : round->second.calls) call.answer(parts);
  rounds_.erase(round);
}

size_t ExchangeTable::RoundsOf(const std::string& group) const {
  size_t count = 0;
  for (auto it = rounds_.lower_bound({group, ""}); it != rounds_.end(); ++it) {
    if (it->first.first != group) break;
    ++count;
  }
  return count;
}

}  // namespace tessera::router
