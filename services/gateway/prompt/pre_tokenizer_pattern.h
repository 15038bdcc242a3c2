// The regular expressions of tokenizer.json are Oniguruma's; PCRE2 reads some of them differently.
// This rewrites the parts that tokenizers use and refuses the rest, so that no pattern changes its
// meaning silently.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_PRE_TOKENIZER_PATTERN_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_PRE_TOKENIZER_PATTERN_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tessera::prompt {

// A pattern for PCRE2 with UTF, UCP and MULTILINE that matches what Oniguruma (Ruby syntax, UTF-8)
// matches:
// - \s is exactly Unicode White_Space, \w is letters, marks, decimal digits and connectors, \h is a
// hexadecimal digit;
// - a pattern that is one class repeated up to a line end (`\s+$`) may only start where a run of
// the class starts. That changes no match
//   (greedy repetition already ends at the run's last line end), but it makes the search linear.
// INVALID_ARGUMENT: an escape, a group or a nested class that is not known to mean the same; says
// which, and its byte offset.
absl::StatusOr<std::string> TranslatePattern(std::string_view pattern);

// A pattern that matches exactly this text.
std::string LiteralPattern(std::string_view text);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_PRE_TOKENIZER_PATTERN_H_
