#include "services/base/sha256.h"

#include <openssl/evp.h>

#include "services/base/check.h"

namespace tessera {

struct Sha256Fields::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256Fields::Sha256Fields() : state_(std::make_unique<State>()) {
  TESSERA_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}

Sha256Fields::~Sha256Fields() = default;

Sha256Fields& Sha256Fields::Add(std::string_view bytes) {
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) {
    length[i] = static_cast<uint8_t>(static_cast<uint64_t>(bytes.size()) >> (8 * i));
  }
  TESSERA_CHECK(EVP_DigestUpdate(state_->context, length, sizeof(length)) == 1);
  TESSERA_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256Fields& Sha256Fields::Add(uint64_t number) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(number >> (8 * i));
  }
  return Add(std::string_view(bytes, sizeof(bytes)));
}

Digest Sha256Fields::Finish() {
  Digest digest;
  TESSERA_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) == 1);
  return digest;
}

std::string HexString(const Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : digest) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace tessera
