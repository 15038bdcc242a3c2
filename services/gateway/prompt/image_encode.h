#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_ENCODE_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_ENCODE_H_

#include <string>

#include "absl/status/statusor.h"
#include "services/gateway/prompt/image.h"

namespace tessera::prompt {

// A PNG file (8-bit RGB, not interlaced) that decodes to the same pixels. INVALID_ARGUMENT: a side
// of 0 or beyond 2^20 pixels, or rgb is not width * height * 3 bytes. Thread safe.
absl::StatusOr<std::string> EncodePng(const Image& image);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_IMAGE_ENCODE_H_
