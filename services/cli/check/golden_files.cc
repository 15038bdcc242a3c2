#include "services/cli/check/golden_files.h"

#include <dirent.h>
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::check {
namespace {

using nlohmann::json;

constexpr size_t kMaxTextBytes = 512u << 20;

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// gzread passes plain files through.
absl::StatusOr<std::string> ReadMaybeZipped(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr)
    return absl::NotFoundError(absl::StrCat("golden file ", BaseName(path), " cannot be opened"));
  std::string text;
  std::vector<char> buffer(1 << 20);
  int count = 0;
  while ((count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0 &&
         text.size() < kMaxTextBytes) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  gzclose(file);
  if (count != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("golden file ", BaseName(path), " is damaged or too large"));
  return text;
}

template <typename Stored>
void Widen(const uint8_t* data, std::vector<double>* values) {
  for (size_t i = 0; i < values->size(); ++i) {
    Stored value;
    std::memcpy(&value, data + i * sizeof value, sizeof value);
    (*values)[i] = static_cast<double>(value);
  }
}

absl::Status WidenTensor(const std::string& name, const model::StoredTensor& stored,
                         GoldenTensors::Tensor* tensor) {
  tensor->shape = stored.info->shape;
  tensor->values.resize(static_cast<size_t>(stored.info->num_elements()));
  switch (stored.info->dtype) {
    case model::StoredDType::kF32:
      Widen<float>(stored.data, &tensor->values);
      return absl::OkStatus();
    case model::StoredDType::kU8:
      Widen<uint8_t>(stored.data, &tensor->values);
      return absl::OkStatus();
    case model::StoredDType::kI32:
      Widen<int32_t>(stored.data, &tensor->values);
      return absl::OkStatus();
    case model::StoredDType::kI64:
      Widen<int64_t>(stored.data, &tensor->values);
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("golden tensor \"", name, "\" is neither F32, U8, I32 nor I64"));
  }
}

}  // namespace

bool FileExists(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool IsFolder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::vector<std::string> ListFolder(const std::string& path) {
  std::vector<std::string> names;
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return names;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  if (FileExists(path)) return ReadMaybeZipped(path);
  if (FileExists(path + ".gz")) return ReadMaybeZipped(path + ".gz");
  return absl::NotFoundError(absl::StrCat("golden file ", BaseName(path), " is missing"));
}

absl::StatusOr<json> ReadJson(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded())
    return absl::InvalidArgumentError(absl::StrCat("golden file ", BaseName(path), " is not JSON"));
  return value;
}

absl::StatusOr<std::vector<json>> ReadJsonLines(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  std::vector<json> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!value.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat("golden file ", BaseName(path), ": line ",
                                                     values.size() + 1, " is not an object"));
    }
    values.push_back(std::move(value));
  }
  return values;
}

std::vector<int64_t> Ints(const json& array) {
  std::vector<int64_t> values;
  if (!array.is_array()) return values;
  for (const json& value : array)
    values.push_back(value.is_number_integer() ? value.get<int64_t>() : INT64_MIN);
  return values;
}

std::vector<int32_t> Ids(const json& array) {
  std::vector<int32_t> ids;
  for (const int64_t value : Ints(array)) ids.push_back(static_cast<int32_t>(value));
  return ids;
}

std::vector<int32_t> ExpandRle(const json& pairs) {
  std::vector<int32_t> ids;
  if (!pairs.is_array()) return ids;
  for (const json& pair : pairs) {
    const std::vector<int64_t> run = Ints(pair);
    if (run.size() == 2 && run[1] >= 0 && run[1] <= 1'000'000) {
      ids.insert(ids.end(), static_cast<size_t>(run[1]), static_cast<int32_t>(run[0]));
    }
  }
  return ids;
}

const json& Member(const json& object, const std::string& key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto entry = object.find(key);
  return entry == object.end() ? kNull : *entry;
}

std::string Text(const json& object, const std::string& key) {
  const json& value = Member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

absl::StatusOr<GoldenTensors> GoldenTensors::Open(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<model::SafetensorsFile> file,
                           model::SafetensorsFile::Open(path));
  GoldenTensors tensors;
  tensors.metadata_ = file->header().metadata;
  for (const auto& [name, info] : file->header().tensors) {
    TESSERA_ASSIGN_OR_RETURN(const model::StoredTensor stored, file->Find(name));
    TESSERA_RETURN_IF_ERROR(WidenTensor(name, stored, &tensors.tensors_[name]));
  }
  return tensors;
}

const GoldenTensors::Tensor* GoldenTensors::Find(const std::string& name) const {
  const auto entry = tensors_.find(name);
  return entry == tensors_.end() ? nullptr : &entry->second;
}

std::string GoldenTensors::Metadata(const std::string& key) const {
  const auto entry = metadata_.find(key);
  return entry == metadata_.end() ? "" : entry->second;
}

}  // namespace tessera::check
