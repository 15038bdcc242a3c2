#include "services/config/topology.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/base/status_macros.h"
#include "services/config/rules.h"

namespace tessera::config {
namespace {

constexpr absl::string_view kBoth = "both";
constexpr absl::string_view kPrefill = "prefill";
constexpr absl::string_view kDecode = "decode";

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }

// Reads the text from left to right; `at_` is where the next thing is expected.
class TopologyReader {
 public:
  explicit TopologyReader(absl::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<PoolSettings>> Read() {
    std::vector<PoolSettings> pools;
    do {
      PoolSettings pool;
      TESSERA_RETURN_IF_ERROR(ReadRole(pool.role));
      TESSERA_RETURN_IF_ERROR(ReadNumber("a number of stages", pool.stages));
      if (!Skip('x')) return Expected("\"x\" and a number of expert ranks");
      TESSERA_RETURN_IF_ERROR(ReadNumber("a number of expert ranks", pool.expert_ranks));
      if (Skip('*')) {
        TESSERA_RETURN_IF_ERROR(ReadNumber("a number of groups", pool.groups));
      } else if (!AtEnd() && text_[at_] != ',') {
        return Expected("\"*\" and a number of groups, \",\" and another pool, or the end");
      }
      pools.push_back(std::move(pool));
    } while (Skip(','));
    if (!AtEnd()) return Expected("\",\" and another pool, or the end");
    return pools;
  }

 private:
  bool AtEnd() const { return at_ == text_.size(); }
  bool Skip(char wanted) {
    if (AtEnd() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  absl::Status Expected(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text_, "\": expected ", what, " at position ", at_ + 1, ", not ",
                     AtEnd() ? "the end" : absl::StrCat("\"", text_.substr(at_, 1), "\"")));
  }
  absl::Status ReadRole(std::string& role) {
    size_t end = at_;
    while (end < text_.size() && IsLetter(text_[end])) ++end;
    if (end == at_) return absl::OkStatus();
    const absl::string_view name = text_.substr(at_, end - at_);
    if (name != kBoth && name != kPrefill && name != kDecode) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text_,
                       "\": expected both, prefill, decode or a number of stages at "
                       "position ",
                       at_ + 1, ", not \"", name, "\""));
    }
    at_ = end;
    if (!Skip('=')) return Expected("\"=\" after the role");
    role = std::string(name);
    return absl::OkStatus();
  }
  absl::Status ReadNumber(absl::string_view what, int64_t& number) {
    size_t end = at_;
    while (end < text_.size() && IsDigit(text_[end])) ++end;
    if (end == at_ || !absl::SimpleAtoi(text_.substr(at_, end - at_), &number) || number < 1 ||
        number > kMaxRanks) {
      return Expected(absl::StrCat(what, " in [1, ", kMaxRanks, "]"));
    }
    at_ = end;
    return absl::OkStatus();
  }

  absl::string_view text_;
  size_t at_ = 0;
};

bool HasRole(const std::vector<PoolSettings>& pools, absl::string_view role) {
  return std::any_of(pools.begin(), pools.end(),
                     [&](const PoolSettings& pool) { return pool.role == role; });
}

absl::Status CheckPool(const PoolSettings& pool) {
  TESSERA_RETURN_IF_ERROR(CheckChoice(pool.role, {kBoth, kPrefill, kDecode}));
  for (const auto& [name, number] : {std::pair<absl::string_view, int64_t>{"stages", pool.stages},
                                     {"expert_ranks", pool.expert_ranks},
                                     {"groups", pool.groups}}) {
    if (const absl::Status status = CheckRange(number, 1, kMaxRanks); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status Missing(absl::string_view given, absl::string_view missing) {
  return absl::InvalidArgumentError(
      absl::StrCat("there is a pool of role ", given, " but none of role ", missing,
                   ": add one, such as ", missing, "=1x1, or use the role both"));
}

}  // namespace

absl::StatusOr<std::vector<PoolSettings>> ParseTopology(std::string_view text) {
  const absl::string_view trimmed =
      absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  TESSERA_ASSIGN_OR_RETURN(std::vector<PoolSettings> pools, TopologyReader(trimmed).Read());
  if (const absl::Status status = CheckTopology(pools); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", trimmed, "\": ", status.message()));
  }
  return pools;
}

std::string FormatTopology(const std::vector<PoolSettings>& pools) {
  return absl::StrJoin(pools, ",", [](std::string* out, const PoolSettings& pool) {
    if (pool.role != kBoth) absl::StrAppend(out, pool.role, "=");
    absl::StrAppend(out, pool.stages, "x", pool.expert_ranks);
    if (pool.groups != 1) absl::StrAppend(out, "*", pool.groups);
  });
}

int64_t TopologyRanks(const std::vector<PoolSettings>& pools) {
  int64_t ranks = 0;
  for (const PoolSettings& pool : pools) ranks += pool.stages * pool.expert_ranks * pool.groups;
  return ranks;
}

absl::Status CheckTopology(const std::vector<PoolSettings>& pools) {
  for (size_t i = 0; i < pools.size(); ++i) {
    if (const absl::Status status = CheckPool(pools[i]); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("pool ", i + 1, ": ", status.message()));
    }
  }
  if (const int64_t ranks = TopologyRanks(pools); ranks > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat(ranks, " ranks in all are not in [1, ", kMaxRanks, "]"));
  }
  const bool prefill = HasRole(pools, kPrefill);
  const bool decode = HasRole(pools, kDecode);
  if (prefill && !decode) return Missing(kPrefill, kDecode);
  if (decode && !prefill) return Missing(kDecode, kPrefill);
  return absl::OkStatus();
}

std::vector<PoolSettings> PoolsOf(const ClusterConfig& config) {
  if (!config.topology.empty()) return config.topology;
  PoolSettings plain;
  plain.groups = config.num_workers;
  return {plain};
}

}  // namespace tessera::config
