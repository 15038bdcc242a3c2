// Mapped files and sharded folders; the header's rules stand in safetensors.cc.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "services/base/status_macros.h"
#include "worker/model/safetensors.h"

namespace tessera::model {
namespace {

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";
constexpr int64_t kMaxIndexBytes = 100'000'000;

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

absl::Status WithFile(const std::string& name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

bool FileExists(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0;
}

// Shard names come from a file that strangers wrote: nothing that leaves the folder.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\\') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(kIndexName, ": cannot be read"));
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (static_cast<int64_t>(text.size()) > kMaxIndexBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(kIndexName, ": larger than ", kMaxIndexBytes, " bytes"));
  }
  const auto root = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto entry = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || entry == root.end() || !entry->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(kIndexName, ": no object \"weight_map\""));
  }
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : entry->items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(
          absl::StrCat(kIndexName, ": weight_map of \"", tensor, "\" is not a plain file name"));
    }
    shards.emplace(tensor, shard.get<std::string>());
  }
  return shards;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  const std::string name = BaseName(path);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const std::string reason = strerror(errno);
    return absl::NotFoundError(absl::StrCat(name, ": cannot be opened (", reason, ")"));
  }
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(name, ": not a regular file"));
  }
  if (info.st_size < 8) {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", info.st_size, " bytes are too few for a safetensors file"));
  }
  void* mapped = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED)
    return absl::ResourceExhaustedError(absl::StrCat(name, ": cannot be mapped"));

  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->mapped_ = static_cast<const uint8_t*>(mapped);
  file->mapped_bytes_ = info.st_size;
  file->name_ = name;
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(
      std::string_view(reinterpret_cast<const char*>(mapped), static_cast<size_t>(info.st_size)),
      info.st_size);
  if (!header.ok()) return WithFile(name, header.status());
  file->header_ = *std::move(header);
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (mapped_ != nullptr) munmap(const_cast<uint8_t*>(mapped_), mapped_bytes_);
}

absl::StatusOr<StoredTensor> SafetensorsFile::Find(std::string_view name) const {
  const auto entry = header_.tensors.find(std::string(name));
  if (entry == header_.tensors.end()) {
    return absl::NotFoundError(absl::StrCat(name_, ": no tensor \"", std::string(name), "\""));
  }
  return StoredTensor{&entry->second, mapped_ + header_.data_offset + entry->second.begin};
}

void SafetensorsFile::Release(const StoredTensor& tensor) const {
  if (tensor.data < mapped_ || tensor.data + tensor.bytes() > mapped_ + mapped_bytes_ ||
      tensor.bytes() == 0)
    return;
  // Whole pages around the tensor: a neighbour's page that goes along is read again from the page
  // cache when it is touched.
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t begin = (tensor.data - mapped_) / page * page;
  const int64_t end = tensor.data - mapped_ + tensor.bytes();
  madvise(const_cast<uint8_t*>(mapped_) + begin, end - begin, MADV_DONTNEED);
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& model_dir) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  if (!FileExists(absl::StrCat(model_dir, "/", kIndexName))) {
    const std::string path = absl::StrCat(model_dir, "/", kSingleName);
    if (!FileExists(path)) {
      return absl::NotFoundError(absl::StrCat("checkpoint: neither ", kIndexName, " nor ",
                                              kSingleName, " is in the folder"));
    }
    TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
    for (const auto& [tensor, info] : file->header().tensors)
      checkpoint->file_of_tensor_.emplace(tensor, file.get());
    checkpoint->files_.push_back(std::move(file));
    return checkpoint;
  }
  std::map<std::string, std::string> shard_of_tensor;
  TESSERA_ASSIGN_OR_RETURN(shard_of_tensor,
                           ReadWeightMap(absl::StrCat(model_dir, "/", kIndexName)));
  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [tensor, shard] : shard_of_tensor) {
    auto [entry, is_new] = opened.emplace(shard, nullptr);
    if (is_new) {
      TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file,
                               SafetensorsFile::Open(absl::StrCat(model_dir, "/", shard)));
      entry->second = file.get();
      checkpoint->files_.push_back(std::move(file));
    }
    TESSERA_RETURN_IF_ERROR(entry->second->Find(tensor).status());
    checkpoint->file_of_tensor_.emplace(tensor, entry->second);
  }
  return checkpoint;
}

absl::StatusOr<StoredTensor> Checkpoint::Find(std::string_view name) const {
  const auto entry = file_of_tensor_.find(name);
  if (entry == file_of_tensor_.end())
    return absl::NotFoundError(absl::StrCat("checkpoint: no tensor \"", std::string(name), "\""));
  return entry->second->Find(name);
}

bool Checkpoint::Contains(std::string_view name) const {
  return file_of_tensor_.find(name) != file_of_tensor_.end();
}

void Checkpoint::Release(const StoredTensor& tensor) const {
  for (const auto& file : files_) file->Release(tensor);
}

int64_t Checkpoint::total_tensor_bytes() const {
  int64_t total = 0;
  for (const auto& [tensor, file] : file_of_tensor_) {
    const TensorInfo& info = file->header().tensors.at(tensor);
    total += info.end - info.begin;
  }
  return total;
}

}  // namespace tessera::model
