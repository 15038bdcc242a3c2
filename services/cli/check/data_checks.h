// Runs the golden data that needs no weights: tokenizers, the processor, sampling, grounding.
#ifndef TESSERA_SERVICES_CLI_CHECK_DATA_CHECKS_H_
#define TESSERA_SERVICES_CLI_CHECK_DATA_CHECKS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/cli/check/report.h"
#include "services/gateway/prompt/tokenizer.h"

namespace tessera::check {

// A tokenizer folder whose files may be gzipped.
absl::StatusOr<std::unique_ptr<prompt::Tokenizer>> ReadTokenizer(const std::string& folder);

// dir/<name>/ with dir/<name>.{encode,decode,stream}.jsonl[.gz]; <name>_raw is held to the lines of
// <name>.
absl::Status CheckTokenizers(const std::string& dir, Report* report);

// dir/cases.jsonl, images.json, resolutions.json and images/; the tokenizers are expected beside
// dir.
absl::Status CheckProcessor(const std::string& dir, Report* report);

// dir/cases.json of each.
absl::Status CheckSampling(const std::string& dir, Report* report);
absl::Status CheckGrounding(const std::string& dir, Report* report);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_DATA_CHECKS_H_
