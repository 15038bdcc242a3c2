// Any bytes as the start of a checkpoint file, whose whole size is what was given or a little more.
#include <cstdint>
#include <string_view>

#include "services/base/check.h"
#include "worker/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  for (const int64_t more : {0, 64}) {
    const int64_t file_bytes = static_cast<int64_t>(size) + more;
    const auto header = tessera::model::ParseSafetensorsHeader(file, file_bytes);
    if (!header.ok()) {
      TESSERA_CHECK(header.status().code() == absl::StatusCode::kInvalidArgument)
          << header.status();
      continue;
    }
    TESSERA_CHECK(header->data_offset >= 8 && header->data_offset <= file_bytes);
    for (const auto& [name, tensor] : header->tensors) {
      TESSERA_CHECK(0 <= tensor.begin && tensor.begin <= tensor.end) << name;
      TESSERA_CHECK(tensor.end <= file_bytes - header->data_offset) << name;
      for (const int64_t side : tensor.shape) TESSERA_CHECK(side >= 0) << name;
      TESSERA_CHECK(tensor.num_elements() >= 0) << name;
    }
  }
  return 0;
}
