// processor_config.json of a checkpoint folder.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_PROCESSOR_CONFIG_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_PROCESSOR_CONFIG_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/tiler.h"

namespace tessera::prompt {

// The tile geometry. Also checks that the file asks for the preprocessing that this module does:
// mean and deviation 0.5, the `deepseek` template, `<image>` as placeholder. INVALID_ARGUMENT:
// names the key, its value's kind or bound.
absl::StatusOr<TileGeometry> ParseProcessorConfig(std::string_view json);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_PROCESSOR_CONFIG_H_
