// SHA-256, for image identities, KV block hashes and model revisions.
#ifndef TESSERA_SERVICES_BASE_SHA256_H_
#define TESSERA_SERVICES_BASE_SHA256_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tessera {

using Digest = std::array<uint8_t, 32>;

// Hashes a sequence of fields. Each field is preceded by its length, so ("ab","c") and ("a","bc")
// differ. Not thread safe.
class Sha256Fields {
 public:
  Sha256Fields();
  ~Sha256Fields();
  Sha256Fields(const Sha256Fields&) = delete;
  Sha256Fields& operator=(const Sha256Fields&) = delete;

  Sha256Fields& Add(std::string_view bytes);
  Sha256Fields& Add(uint64_t number);  // as eight little-endian bytes
  Digest Finish();                     // at most once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string HexString(const Digest& digest);  // 64 lower-case digits

}  // namespace tessera

#endif  // TESSERA_SERVICES_BASE_SHA256_H_
