// Pillow's bicubic resampling, bit for bit (golden README, point 19).
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_RESAMPLE_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_RESAMPLE_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "services/gateway/prompt/image.h"

namespace tessera::prompt {

// Gets one finished row, [out_width, 3] bytes, valid during the call.
using RowSink = absl::FunctionRef<void(int64_t y, const uint8_t* row)>;

// Hands out rows 0 … out_height - 1 in order. Keeps only the few rows that a vertical window spans.
// out_width and out_height: at least 1. Single-threaded; thread safe.
void ResampleBicubic(const Image& image, int64_t out_width, int64_t out_height, RowSink sink);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_RESAMPLE_H_
