// Cuts text into the pieces that BPE works on: the pre_tokenizer of tokenizer.json, step after
// step.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_PRE_TOKENIZER_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_PRE_TOKENIZER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/gateway/prompt/regex.h"

namespace tessera::prompt {

// What happens to the matches of a step.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitRule {
  std::string pattern;  // for Regex::Compile
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what does not match is the match
};

// Immutable; thread safe.
class PreTokenizer {
 public:
  // INVALID_ARGUMENT: a pattern that does not compile, by its step's index.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<SplitRule>& rules);

  // The pieces of valid UTF-8 text in order; they point into text and are not empty. A step sees
  // each piece of the step before as a text of its own. INVALID_ARGUMENT: a matcher's limit was
  // reached.
  absl::StatusOr<std::vector<std::string_view>> Split(std::string_view text) const;

 private:
  struct Step {
    Regex regex;
    SplitBehavior behavior;
    bool invert;
  };
  explicit PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  static absl::Status SplitPiece(const Step& step, std::string_view piece,
                                 std::vector<std::string_view>* out);

  std::vector<Step> steps_;
};

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_PRE_TOKENIZER_H_
