// Files and hashes for the picture tests.
#ifndef TESSERA_TESTS_SERVICES_GATEWAY_PROMPT_IMAGE_TEST_FILES_H_
#define TESSERA_TESTS_SERVICES_GATEWAY_PROMPT_IMAGE_TEST_FILES_H_

#include <openssl/sha.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/base/sha256.h"
#include "services/gateway/prompt/image.h"
#include "services/gateway/prompt/image_netpbm.h"

namespace tessera::prompt {

inline std::string ReadTestFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

inline std::string HashOf(const uint8_t* bytes, size_t count) {
  Digest digest;
  SHA256(bytes, count, digest.data());
  return HexString(digest);
}

inline std::filesystem::path GoldenProcessorDir() {
  return std::filesystem::path(TESSERA_FIXTURES) / "golden" / "processor";
}

// A golden picture, of which two are in a format that clients cannot send.
inline absl::StatusOr<Image> DecodeGolden(const std::filesystem::path& path) {
  const std::string bytes = ReadTestFile(path);
  const bool netpbm = path.extension() == ".ppm" || path.extension() == ".pgm";
  return netpbm ? DecodeNetpbm(bytes, ImageLimits{}) : DecodeImage(bytes, ImageLimits{});
}

}  // namespace tessera::prompt

#endif  // TESSERA_TESTS_SERVICES_GATEWAY_PROMPT_IMAGE_TEST_FILES_H_
