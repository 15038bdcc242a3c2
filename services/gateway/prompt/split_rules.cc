#include "services/gateway/prompt/split_rules.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/pre_tokenizer_pattern.h"

namespace tessera::prompt {
namespace {

constexpr int kMaxNesting = 8;
constexpr size_t kMaxRules = 64;

// The regular expression that ByteLevel applies by itself when use_regex is on.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

absl::Status Wrong(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, " ", what));
}

absl::StatusOr<bool> ReadBool(simdjson::dom::element node, const std::string& path, const char* key,
                              bool absent) {
  simdjson::dom::element value;
  if (node[key].get(value) != simdjson::SUCCESS) return absent;
  bool result = absent;
  if (value.get(result) != simdjson::SUCCESS) {
    return Wrong(absl::StrCat(path, ".", key), "is not a boolean");
  }
  return result;
}

absl::StatusOr<SplitBehavior> ReadBehavior(simdjson::dom::element node, const std::string& path) {
  std::string_view name;
  if (node["behavior"].get(name) != simdjson::SUCCESS) {
    return Wrong(path, "has no text 'behavior'");
  }
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Wrong(absl::StrCat(path, ".behavior"),
               absl::StrCat("'", std::string(name), "' is not supported"));
}

absl::StatusOr<SplitRule> ReadSplit(simdjson::dom::element node, const std::string& path) {
  SplitRule rule;
  std::string_view text;
  if (node["pattern"]["Regex"].get(text) == simdjson::SUCCESS) {
    absl::StatusOr<std::string> pattern = TranslatePattern(text);
    if (!pattern.ok()) {
      return Wrong(absl::StrCat(path, ".pattern.Regex:"), std::string(pattern.status().message()));
    }
    rule.pattern = *std::move(pattern);
  } else if (node["pattern"]["String"].get(text) == simdjson::SUCCESS) {
    rule.pattern = LiteralPattern(text);
  } else {
    return Wrong(absl::StrCat(path, ".pattern"), "is neither a Regex nor a String");
  }
  TESSERA_ASSIGN_OR_RETURN(rule.behavior, ReadBehavior(node, path));
  TESSERA_ASSIGN_OR_RETURN(rule.invert, ReadBool(node, path, "invert", false));
  return rule;
}

absl::Status ReadByteLevel(simdjson::dom::element node, const std::string& path,
                           std::vector<SplitRule>* rules) {
  TESSERA_ASSIGN_OR_RETURN(const bool prefix, ReadBool(node, path, "add_prefix_space", true));
  if (prefix) return Wrong(absl::StrCat(path, ".add_prefix_space"), "true is not supported");
  TESSERA_ASSIGN_OR_RETURN(const bool use_regex, ReadBool(node, path, "use_regex", true));
  if (use_regex) {
    TESSERA_ASSIGN_OR_RETURN(std::string pattern, TranslatePattern(kByteLevelPattern));
    rules->push_back({std::move(pattern), SplitBehavior::kIsolated, false});
  }
  return absl::OkStatus();
}

class Reader {
 public:
  absl::Status Read(simdjson::dom::element node, const std::string& path, int nesting) {
    std::string_view type;
    if (node["type"].get(type) != simdjson::SUCCESS) return Wrong(path, "has no text 'type'");
    if (nesting > kMaxNesting) return Wrong(path, "is nested too deeply");
    if (rules_.size() >= kMaxRules) return Wrong(path, "is one step too many");
    if (type == "Sequence") return ReadSequence(node, path, nesting);
    if (byte_level_seen_)
      return Wrong(path, absl::StrCat("('", std::string(type), "') stands after ByteLevel"));
    if (type == "Split") {
      TESSERA_ASSIGN_OR_RETURN(SplitRule rule, ReadSplit(node, path));
      rules_.push_back(std::move(rule));
      return absl::OkStatus();
    }
    if (type == "Digits") {
      TESSERA_ASSIGN_OR_RETURN(const bool each, ReadBool(node, path, "individual_digits", false));
      rules_.push_back(
          {R"(\p{N})", each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false});
      return absl::OkStatus();
    }
    if (type == "ByteLevel") {
      byte_level_seen_ = true;
      return ReadByteLevel(node, path, &rules_);
    }
    return Wrong(absl::StrCat(path, ".type"),
                 absl::StrCat("'", std::string(type), "' is not supported"));
  }

  absl::StatusOr<std::vector<SplitRule>> Finish() {
    if (!byte_level_seen_) return Wrong("pre_tokenizer", "has no ByteLevel step");
    return std::move(rules_);
  }

 private:
  absl::Status ReadSequence(simdjson::dom::element node, const std::string& path, int nesting) {
    simdjson::dom::array steps;
    if (node["pretokenizers"].get(steps) != simdjson::SUCCESS) {
      return Wrong(path, "has no list 'pretokenizers'");
    }
    size_t index = 0;
    for (const simdjson::dom::element step : steps) {
      TESSERA_RETURN_IF_ERROR(
          Read(step, absl::StrCat(path, ".pretokenizers[", index++, "]"), nesting + 1));
    }
    return absl::OkStatus();
  }

  std::vector<SplitRule> rules_;
  bool byte_level_seen_ = false;
};

}  // namespace

absl::StatusOr<std::vector<SplitRule>> ReadSplitRules(simdjson::dom::element pre_tokenizer) {
  Reader reader;
  TESSERA_RETURN_IF_ERROR(reader.Read(pre_tokenizer, "pre_tokenizer", 0));
  return reader.Finish();
}

}  // namespace tessera::prompt
