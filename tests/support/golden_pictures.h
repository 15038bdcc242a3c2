// Pictures of the golden folder, and a plain SHA-256 to compare their bytes with the golden
// digests.
#ifndef TESSERA_TESTS_SUPPORT_GOLDEN_PICTURES_H_
#define TESSERA_TESTS_SUPPORT_GOLDEN_PICTURES_H_

#include <openssl/sha.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "services/gateway/prompt/image.h"
#include "services/gateway/prompt/image_netpbm.h"
#include "tests/support/golden_files.h"

namespace tessera::testing {

inline std::string PlainSha256(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string hex;
  char two[3];
  for (const unsigned char byte : digest) {
    std::snprintf(two, sizeof(two), "%02x", byte);
    hex += two;
  }
  return hex;
}

// The decoded picture, kept for the process's life; nullptr if the file is not here (the ref_*
// pictures are not committed).
inline const prompt::Image* GoldenPicture(const std::string& name) {
  static auto* pictures = new std::map<std::string, std::unique_ptr<prompt::Image>>();
  const auto [slot, inserted] = pictures->try_emplace(name, nullptr);
  const std::string path = GoldenPath("processor/images/" + name);
  if (inserted && std::filesystem::exists(path)) {
    const bool netpbm = name.ends_with(".pgm") || name.ends_with(".ppm");
    const std::string bytes = ReadGoldenFile(path);
    absl::StatusOr<prompt::Image> image = netpbm
                                              ? prompt::DecodeNetpbm(bytes, prompt::ImageLimits{})
                                              : prompt::DecodeImage(bytes, prompt::ImageLimits{});
    if (!image.ok()) throw std::runtime_error(name + ": " + image.status().ToString());
    slot->second = std::make_unique<prompt::Image>(*std::move(image));
  }
  return slot->second.get();
}

}  // namespace tessera::testing

#endif  // TESSERA_TESTS_SUPPORT_GOLDEN_PICTURES_H_
