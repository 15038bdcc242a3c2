#include "services/base/kv_block_hash.h"

namespace tessera::kv {
namespace {

std::string_view BytesOf(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

Digest RootHash(std::string_view cache_salt) {
  return Sha256Fields().Add("tessera kv root").Add(cache_salt).Finish();
}

Digest HashBlock(const Digest& parent, const BlockContent& content) {
  Sha256Fields fields;
  fields.Add("tessera kv block").Add(BytesOf(parent));
  fields.Add({reinterpret_cast<const char*>(content.token_ids.data()),
              content.token_ids.size() * sizeof(int32_t)});
  fields.Add(static_cast<uint64_t>(content.num_generated_tokens));
  fields.Add(static_cast<uint64_t>(content.images.size()));
  for (const auto& [offset, identity] : content.images) {
    fields.Add(static_cast<uint64_t>(offset)).Add(BytesOf(identity));
  }
  return fields.Finish();
}

uint64_t ShortHash(const Digest& hash) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | hash[i];
  return value;
}

}  // namespace tessera::kv
