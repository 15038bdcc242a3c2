#include "services/gateway/prompt/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {
namespace {

struct Part {
  size_t begin = 0;
  size_t end = 0;  // exclusive
  bool is_match = false;
};

// Joins each run of equal flags.
void MergeContiguous(std::vector<Part>* parts) {
  std::vector<Part> merged;
  for (const Part& part : *parts) {
    if (!merged.empty() && merged.back().is_match == part.is_match) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
  }
  *parts = std::move(merged);
}

// A match that does not follow another match joins the part before it.
void MergeWithPrevious(std::vector<Part>* parts) {
  std::vector<Part> merged;
  bool previous_match = false;
  for (const Part& part : *parts) {
    if (part.is_match && !previous_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  *parts = std::move(merged);
}

void MergeWithNext(std::vector<Part>* parts) {
  std::vector<Part> merged;
  bool previous_match = false;
  for (auto part = parts->rbegin(); part != parts->rend(); ++part) {
    if (part->is_match && !previous_match && !merged.empty()) {
      merged.back().begin = part->begin;
    } else {
      merged.push_back(*part);
    }
    previous_match = part->is_match;
  }
  std::reverse(merged.begin(), merged.end());
  *parts = std::move(merged);
}

void Apply(SplitBehavior behavior, std::vector<Part>* parts) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      parts->erase(std::remove_if(parts->begin(), parts->end(),
                                  [](const Part& part) { return part.is_match; }),
                   parts->end());
      return;
    case SplitBehavior::kMergedWithPrevious:
      return MergeWithPrevious(parts);
    case SplitBehavior::kMergedWithNext:
      return MergeWithNext(parts);
    case SplitBehavior::kContiguous:
      return MergeContiguous(parts);
  }
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<SplitRule>& rules) {
  std::vector<Step> steps;
  for (const SplitRule& rule : rules) {
    absl::StatusOr<Regex> regex = Regex::Compile(rule.pattern);
    if (!regex.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("pre_tokenizer step ", steps.size(), ": ", regex.status().message()));
    }
    steps.push_back({*std::move(regex), rule.behavior, rule.invert});
  }
  return PreTokenizer(std::move(steps));
}

absl::Status PreTokenizer::SplitPiece(const Step& step, std::string_view piece,
                                      std::vector<std::string_view>* out) {
  // The usual case needs no list of parts.
  const bool isolated = step.behavior == SplitBehavior::kIsolated;
  std::vector<Part> parts;
  const auto emit = [&](size_t begin, size_t end, bool is_match) {
    if (!isolated) {
      parts.push_back({begin, end, is_match != step.invert});
    } else if (end > begin) {
      out->push_back(piece.substr(begin, end - begin));
    }
  };
  size_t done = 0;  // everything before it is in a part
  size_t search = 0;
  bool after_match = false;
  while (search <= piece.size()) {
    TESSERA_ASSIGN_OR_RETURN(const Regex::Match match, step.regex.Find(piece, search));
    if (!match.found) break;
    const bool empty = match.begin == match.end;
    if (!empty || !after_match || match.begin != done) {
      if (match.begin > done) emit(done, match.begin, false);
      emit(match.begin, match.end, true);
      done = match.end;
      after_match = true;
    }
    search = match.end;
    if (empty) search += search < piece.size() ? ReadUtf8Part(piece.substr(search)).length : 1;
  }
  if (done < piece.size()) emit(done, piece.size(), false);
  if (isolated) return absl::OkStatus();
  Apply(step.behavior, &parts);
  for (const Part& part : parts) {
    if (part.end > part.begin) out->push_back(piece.substr(part.begin, part.end - part.begin));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string_view>> PreTokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  std::vector<std::string_view> next;
  for (const Step& step : steps_) {
    next.clear();
    next.reserve(pieces.size() * 2);
    for (const std::string_view piece : pieces) {
      TESSERA_RETURN_IF_ERROR(SplitPiece(step, piece, &next));
    }
    std::swap(pieces, next);
  }
  return pieces;
}

}  // namespace tessera::prompt
