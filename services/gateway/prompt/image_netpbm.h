// Binary PGM and PPM with 8-bit samples: the plainest picture files there are, for tests and tools
// that compare pixels. Not a client format: DecodeImage does not know it.
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_NETPBM_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_NETPBM_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/image.h"

namespace tessera::prompt {

// P5 (gray becomes R = G = B) or P6, with 255 as the highest sample value.
// INVALID_ARGUMENT: anything else, a side of 0 or beyond `limits`, or missing pixels.
absl::StatusOr<Image> DecodeNetpbm(std::string_view bytes, const ImageLimits& limits);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_NETPBM_H_
