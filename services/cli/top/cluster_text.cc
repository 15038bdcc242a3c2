#include "services/cli/top/cluster_text.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/cli/top/text_table.h"

namespace tessera::cli {
namespace {

constexpr int64_t kBarCells = 10;
constexpr size_t kLongestName = 40;
constexpr size_t kRevisionDigits = 12;
constexpr double kHighUse = 0.7;
constexpr double kFullUse = 0.9;
constexpr absl::Duration kLateHeartbeat = absl::Seconds(3);

// Printable; of a long one both ends, since ids often differ in the last characters.
std::string ShortName(std::string_view name) {
  const std::string text = Printable(name);
  if (text.size() <= kLongestName) {
    return text;
  }
  const size_t half = (kLongestName - 2) / 2;
  return absl::StrCat(text.substr(0, half), "..", text.substr(text.size() - half));
}

double Share(int64_t part, int64_t whole) {
  return whole > 0 ? std::clamp(static_cast<double>(part) / static_cast<double>(whole), 0.0, 1.0)
                   : 0.0;
}

TextColor UseColor(double share) {
  return share >= kFullUse   ? TextColor::kRed
         : share >= kHighUse ? TextColor::kYellow
                             : TextColor::kGreen;
}

// "[###.......]": a bar that is not empty has a mark, and one that is not full has a gap.
TableCell Bar(int64_t used, int64_t total) {
  const double share = Share(used, total);
  auto filled = static_cast<int64_t>(share * kBarCells + 0.5);
  if (used > 0 && total > 0) {
    filled = std::max<int64_t>(filled, 1);
  }
  if (used < total) {
    filled = std::min<int64_t>(filled, kBarCells - 1);
  }
  return {absl::StrCat("[", std::string(static_cast<size_t>(filled), '#'),
                       std::string(static_cast<size_t>(kBarCells - filled), '.'), "]"),
          UseColor(share)};
}

TableCell Percent(int64_t used, int64_t total) {
  if (total <= 0) {
    return {"-"};
  }
  return {absl::StrFormat("%.0f%%", 100 * Share(used, total)), UseColor(Share(used, total))};
}

std::string RateText(bool known, double rate) {
  return known ? absl::StrFormat("%.1f", rate) : "-";
}

TableCell State(RankState state) {
  return {StateName(state), state == RankState::kReady ? TextColor::kGreen : TextColor::kYellow};
}

// "s0e1 of 2x2"
std::string PlaceText(const v1::ClusterWorker& rank) {
  const v1::GroupPlace& place = rank.place();
  if (!IsInGroup(rank)) {
    return "-";
  }
  return absl::StrCat("s", place.stage(), "e", place.expert_rank(), " of ", place.stages(), "x",
                      place.expert_ranks());
}

std::vector<std::string> PoolLines(const ClusterFrame& frame, const ClusterTextStyle& style) {
  const std::vector<TableColumn> columns = {{"POOL"},
                                            {"GROUPS", true, 7},
                                            {"RANKS", true, 5},
                                            {"READY", true},
                                            {"RUN", true},
                                            {"QUEUE", true, 2},
                                            {"KV", false, 6},
                                            {"KV%", true, 1},
                                            {"CACHED", true, 8},
                                            {"PROMPT/S", true, 3},
                                            {"GEN/S", true},
                                            {"LEASES", true, 9}};
  std::vector<std::vector<TableCell>> rows;
  for (const PoolSummary& pool : SummarizePools(frame)) {
    const bool all_ready = pool.ready_ranks == pool.ranks;
    const TokenRate rate = pool.rate.value_or(TokenRate());
    rows.push_back(
        {{pool.role},
         {absl::StrCat(pool.groups)},
         {absl::StrCat(pool.ranks)},
         {absl::StrCat(pool.ready_ranks), all_ready ? TextColor::kGreen : TextColor::kYellow},
         {absl::StrCat(pool.running_requests)},
         {absl::StrCat(pool.queued_requests)},
         Bar(pool.kv_blocks_used, pool.kv_blocks_total),
         Percent(pool.kv_blocks_used, pool.kv_blocks_total),
         {absl::StrCat(pool.kv_blocks_cached)},
         {RateText(pool.rate.has_value(), rate.prompt)},
         {RateText(pool.rate.has_value(), rate.generated)},
         {absl::StrCat(pool.kv_leases_reclaimed)}});
  }
  return TableLines(columns, rows, style.columns, style.color);
}

std::vector<TableCell> RankRow(const v1::ClusterWorker& rank, const TokenRates& rates) {
  const v1::WorkerLoad& load = rank.load();
  const auto found = rates.find(rank.worker_id());
  const bool known = found != rates.end();
  const TokenRate rate = known ? found->second : TokenRate();
  const absl::Duration age = absl::Milliseconds(rank.heartbeat_age_ms());
  return {{ShortName(rank.worker_id())},
          {RoleName(rank.role())},
          {IsInGroup(rank) ? ShortName(rank.place().group()) : "-"},
          {PlaceText(rank)},
          State(StateOf(rank)),
          {IsInGroup(rank) ? absl::StrCat(rank.place().epoch()) : "-"},
          {absl::StrFormat("%.1fs", absl::ToDoubleSeconds(age)),
           age > kLateHeartbeat ? TextColor::kRed : TextColor::kPlain},
          {absl::StrCat(load.running_requests())},
          {absl::StrCat(load.queued_requests())},
          Bar(load.kv_blocks_used(), load.kv_blocks_total()),
          Percent(load.kv_blocks_used(), load.kv_blocks_total()),
          {absl::StrCat(load.kv_blocks_cached())},
          {RateText(known, rate.prompt)},
          {RateText(known, rate.generated)},
          {load.expert_imbalance() > 0 ? absl::StrFormat("%.2f", load.expert_imbalance()) : "-"},
          {absl::StrCat(load.kv_leases_reclaimed())}};
}

std::vector<std::string> RankLines(const ClusterFrame& frame, const ClusterTextStyle& style) {
  const std::vector<TableColumn> columns = {{"RANK"},
                                            {"ROLE", false, 9},
                                            {"GROUP", false, 11},
                                            {"PLACE", false, 8},
                                            {"STATE"},
                                            {"EPOCH", true, 7},
                                            {"BEAT", true, 6},
                                            {"RUN", true},
                                            {"QUEUE", true, 2},
                                            {"KV", false, 10},
                                            {"KV%", true, 1},
                                            {"CACHED", true, 12},
                                            {"PROMPT/S", true, 3},
                                            {"GEN/S", true, 0},
                                            {"IMBALANCE", true, 5},
                                            {"LEASES", true, 13}};
  std::vector<std::vector<TableCell>> rows;
  for (const v1::ClusterWorker* rank : SortedRanks(frame)) {
    rows.push_back(RankRow(*rank, frame.rates));
  }
  return TableLines(columns, rows, style.columns, style.color);
}

// "nano (0123456789ab, avx2 bf16)" of each kind of rank.
std::string ModelsText(const v1::Cluster& cluster) {
  std::set<std::string> models;
  for (const v1::ClusterWorker& rank : cluster.workers()) {
    models.insert(absl::StrCat(ShortName(rank.model_name()), " (",
                               Printable(rank.model_revision()).substr(0, kRevisionDigits), ", ",
                               ShortName(rank.numerics()), ")"));
  }
  return absl::StrJoin(models, "; ");
}

std::vector<std::string> HeadLines(const ClusterFrame& frame, const ClusterTextStyle& style) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& text, TextColor color) {
    const std::string cut = text.substr(0, style.columns);
    lines.push_back(style.color ? Colored(cut, color) : cut);
  };
  const bool known = frame.cluster_time != absl::InfinitePast();
  std::string head = absl::StrCat("tessera top  ", Printable(frame.router));
  if (known) {
    absl::StrAppend(&head, "  epoch ", frame.cluster.epoch());
  }
  absl::StrAppend(&head, "  ", absl::FormatTime("%H:%M:%S", frame.time, absl::LocalTimeZone()));
  add(head, TextColor::kBold);
  if (!frame.status.ok()) {
    const absl::Duration age = frame.time - frame.cluster_time;
    add(absl::StrCat("the router does not answer, trying again",
                     known ? absl::StrFormat("; below is what it said %.0f s ago",
                                             absl::ToDoubleSeconds(age))
                           : ""),
        TextColor::kRed);
    add(Printable(frame.status.ToString()), TextColor::kRed);
  }
  if (known && frame.cluster.workers().empty()) {
    add("no rank is registered", TextColor::kYellow);
  } else if (known) {
    add(absl::StrCat("model ", ModelsText(frame.cluster)), TextColor::kPlain);
  }
  return lines;
}

}  // namespace

std::string ClusterText(const ClusterFrame& frame, const ClusterTextStyle& style) {
  std::vector<std::string> lines = HeadLines(frame, style);
  if (!frame.cluster.workers().empty()) {
    for (const auto& table : {PoolLines(frame, style), RankLines(frame, style)}) {
      lines.emplace_back();
      lines.insert(lines.end(), table.begin(), table.end());
    }
  }
  if (style.rows > 0 && lines.size() > style.rows) {
    const size_t left_out = lines.size() - style.rows + 1;
    lines.resize(style.rows - 1);
    lines.push_back(absl::StrCat("... ", left_out, " more lines").substr(0, style.columns));
  }
  return absl::StrCat(absl::StrJoin(lines, "\n"), "\n");
}

}  // namespace tessera::cli
