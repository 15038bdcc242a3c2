#include "services/gateway/prompt/added_tokens.h"

namespace tessera::prompt {
namespace {

uint64_t ChildKey(uint32_t node, char c) {
  return static_cast<uint64_t>(node) * 256 + static_cast<uint8_t>(c);
}

void SplitOnce(std::string_view text, const AddedTokenMatcher& matcher,
               std::vector<TextSpan>* spans) {
  size_t at = 0;
  while (at < text.size()) {
    const AddedTokenMatcher::Match match = matcher.Find(text, at);
    if (match.id < 0) break;
    if (match.begin > at) spans->push_back({text.substr(at, match.begin - at), -1});
    spans->push_back({text.substr(match.begin, match.end - match.begin), match.id});
    at = match.end;
  }
  if (at < text.size()) spans->push_back({text.substr(at), -1});
}

}  // namespace

void AddedTokenMatcher::Add(std::string_view content, int32_t id) {
  starts_[static_cast<uint8_t>(content[0])] = true;
  uint32_t node = 0;
  for (const char c : content) {
    const auto [child, inserted] =
        children_.try_emplace(ChildKey(node, c), static_cast<uint32_t>(ids_.size()));
    if (inserted) ids_.push_back(-1);
    node = child->second;
  }
  ids_[node] = id;
}

AddedTokenMatcher::Match AddedTokenMatcher::Find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
    Match best;
    uint32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      const auto child = children_.find(ChildKey(node, text[at]));
      if (child == children_.end()) break;
      node = child->second;
      if (ids_[node] >= 0) best = {begin, at + 1, ids_[node]};
    }
    if (best.id >= 0) return best;
  }
  return {};
}

std::vector<TextSpan> SplitByAddedTokens(std::string_view text, const AddedTokenMatcher& first,
                                         const AddedTokenMatcher& second) {
  std::vector<TextSpan> coarse;
  SplitOnce(text, first, &coarse);
  std::vector<TextSpan> fine;
  for (const TextSpan& span : coarse) {
    if (span.id >= 0) {
      fine.push_back(span);
    } else {
      SplitOnce(span.text, second, &fine);
    }
  }
  return fine;
}

}  // namespace tessera::prompt
