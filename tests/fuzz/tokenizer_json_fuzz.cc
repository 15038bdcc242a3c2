// Any bytes as tokenizer.json: a status, or a tokenizer that encodes and decodes.
#include <cstdint>
#include <string_view>

#include "services/base/check.h"
#include "services/gateway/prompt/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tessera::prompt::AddedTokens;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = tessera::prompt::Tokenizer::Parse(json, "");
  if (!tokenizer.ok()) {
    TESSERA_CHECK(tokenizer.status().code() == absl::StatusCode::kInvalidArgument)
        << tokenizer.status();
    return 0;
  }
  const auto ids = (*tokenizer)->Encode("Hello, <image> wörld 123  \n中文", AddedTokens::kAll);
  if (!ids.ok()) return 0;
  for (const int32_t id : *ids) TESSERA_CHECK(id >= 0 && id < (*tokenizer)->size()) << id;
  tessera::prompt::Decode(**tokenizer, *ids, false);
  return 0;
}
