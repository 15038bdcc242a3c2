// Reads golden files: plain, gzipped, and one JSON value per line.
#ifndef TESSERA_TESTS_SUPPORT_GOLDEN_FILES_H_
#define TESSERA_TESTS_SUPPORT_GOLDEN_FILES_H_

#include <zlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace tessera::testing {

inline std::string GoldenPath(const std::string& name) {
  return std::string(TESSERA_FIXTURES) + "/golden/" + name;
}

// The file's content, decompressed if it is gzipped. Throws if it can't be read: a test without its
// golden file is broken.
inline std::string ReadGoldenFile(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot open " + path);
  std::string content;
  std::vector<char> block(1 << 16);
  int count = 0;
  while ((count = gzread(file, block.data(), static_cast<unsigned>(block.size()))) > 0) {
    content.append(block.data(), static_cast<size_t>(count));
  }
  gzclose(file);
  if (count < 0) throw std::runtime_error("cannot read " + path);
  return content;
}

// path, or path + ".gz" where only that exists.
inline std::string ReadGoldenFileOrGz(const std::string& path) {
  return ReadGoldenFile(std::filesystem::exists(path) ? path : path + ".gz");
}

inline nlohmann::json ReadGoldenJson(const std::string& path) {
  return nlohmann::json::parse(ReadGoldenFile(path));
}

inline std::vector<nlohmann::json> ReadGoldenLines(const std::string& path) {
  const std::string content = ReadGoldenFile(path);
  std::vector<nlohmann::json> lines;
  size_t at = 0;
  while (at < content.size()) {
    size_t end = content.find('\n', at);
    if (end == std::string::npos) end = content.size();
    if (end > at) lines.push_back(nlohmann::json::parse(content.substr(at, end - at)));
    at = end + 1;
  }
  return lines;
}

}  // namespace tessera::testing

#endif  // TESSERA_TESTS_SUPPORT_GOLDEN_FILES_H_
