// The pre_tokenizer entry of tokenizer.json as a list of split rules.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_SPLIT_RULES_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_SPLIT_RULES_H_

#include <simdjson.h>

#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/pre_tokenizer.h"

namespace tessera::prompt {

// Understands Sequence, Split (Regex or String pattern, every behaviour), Digits and ByteLevel,
// which must come last. INVALID_ARGUMENT: names any other type, option or kind of value by its
// path.
absl::StatusOr<std::vector<SplitRule>> ReadSplitRules(simdjson::dom::element pre_tokenizer);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_SPLIT_RULES_H_
