// Read-only access to safetensors checkpoints: one file, or a sharded folder by its index. Files
// are mapped; every length and offset of a header is checked before use, because checkpoints come
// from strangers.
#ifndef TESSERA_WORKER_MODEL_SAFETENSORS_H_
#define TESSERA_WORKER_MODEL_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::model {

enum class StoredDType : uint8_t { kF32, kF16, kBF16, kU8, kI8, kI32, kI64, kBool, kOther };

struct TensorInfo {
  StoredDType dtype = StoredDType::kOther;
  std::vector<int64_t> shape;
  int64_t begin = 0;             // bytes from the start of the file's data section
  int64_t end = 0;               // exclusive
  int64_t num_elements() const;  // product of shape; 1 for a scalar
};

struct SafetensorsHeader {
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"
  int64_t data_offset = 0;                      // bytes from the start of the file
};

// Parses the header at the start of `file` (8-byte little-endian length, JSON). file_bytes is the
// whole file's size, which may be larger than `file`. INVALID_ARGUMENT: names what lies (length
// past the end, offsets outside, overlapping or not matching shape × dtype).
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view file, int64_t file_bytes);

// A tensor in mapped memory; valid while its Checkpoint (or SafetensorsFile) lives.
struct StoredTensor {
  const TensorInfo* info = nullptr;
  const uint8_t* data = nullptr;
  int64_t bytes() const { return info->end - info->begin; }
};

// One mapped file. Thread safe for reading.
class SafetensorsFile {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const SafetensorsHeader& header() const { return header_; }
  absl::StatusOr<StoredTensor> Find(
      std::string_view name) const;  // NOT_FOUND names the tensor and the file's base name
  // Tells the kernel that the tensor's pages are not needed any more, so that a loaded checkpoint
  // does not count twice.
  void Release(const StoredTensor& tensor) const;

 private:
  SafetensorsFile() = default;
  SafetensorsHeader header_;
  const uint8_t* mapped_ = nullptr;
  int64_t mapped_bytes_ = 0;
  std::string name_;
};

// A checkpoint folder: model.safetensors.index.json and its shards, or a single model.safetensors.
class Checkpoint {
 public:
  // NOT_FOUND: neither index nor model.safetensors, or a shard that the index names is missing;
  // INVALID_ARGUMENT: as above.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& model_dir);

  absl::StatusOr<StoredTensor> Find(std::string_view name) const;
  bool Contains(std::string_view name) const;
  void Release(const StoredTensor& tensor) const;
  int64_t total_tensor_bytes() const;

 private:
  Checkpoint() = default;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*, std::less<>> file_of_tensor_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_SAFETENSORS_H_
