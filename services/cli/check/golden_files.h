// Reads the files of a golden folder: JSON and JSON lines, gzipped or not, and tensors.
#ifndef TESSERA_SERVICES_CLI_CHECK_GOLDEN_FILES_H_
#define TESSERA_SERVICES_CLI_CHECK_GOLDEN_FILES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "worker/model/safetensors.h"

namespace tessera::check {

bool FileExists(const std::string& path);
bool IsFolder(const std::string& path);
// Names in a folder, sorted, without "." and "..". Empty if it cannot be read.
std::vector<std::string> ListFolder(const std::string& path);

// The file, or `path`.gz unpacked where only that exists. NOT_FOUND names the file.
absl::StatusOr<std::string> ReadText(const std::string& path);
absl::StatusOr<nlohmann::json> ReadJson(const std::string& path);
// One object per line; empty lines are passed over.
absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(const std::string& path);

// A value of the wrong kind counts as absent: a damaged golden fails its comparison, it does not
// end the program.
std::vector<int64_t> Ints(const nlohmann::json& array);
std::vector<int32_t> Ids(const nlohmann::json& array);
std::vector<int32_t> ExpandRle(const nlohmann::json& pairs);  // [[id, repeat], …]
std::string Text(const nlohmann::json& object, const std::string& key);
const nlohmann::json& Member(const nlohmann::json& object,
                             const std::string& key);  // null if absent

// Tensors of a golden .safetensors file, widened.
class GoldenTensors {
 public:
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<double> values;
    int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
    int64_t rows() const { return cols() == 0 ? 0 : static_cast<int64_t>(values.size()) / cols(); }
  };

  static absl::StatusOr<GoldenTensors> Open(const std::string& path);

  // Null if there is no such tensor.
  const Tensor* Find(const std::string& name) const;
  const std::map<std::string, Tensor>& all() const { return tensors_; }
  std::string Metadata(const std::string& key) const;  // empty if absent

 private:
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_GOLDEN_FILES_H_
