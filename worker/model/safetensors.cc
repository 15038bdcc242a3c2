#include "worker/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "simdjson.h"

namespace tessera::model {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxDimensions = 8;

struct DTypeName {
  std::string_view name;
  StoredDType dtype;
  int64_t bytes;
};

// Every element type of the format with whole bytes; those that no weight of the family uses are
// kOther.
constexpr DTypeName kDTypes[] = {
    {"F32", StoredDType::kF32, 4},       {"F16", StoredDType::kF16, 2},
    {"BF16", StoredDType::kBF16, 2},     {"U8", StoredDType::kU8, 1},
    {"I8", StoredDType::kI8, 1},         {"I32", StoredDType::kI32, 4},
    {"I64", StoredDType::kI64, 8},       {"BOOL", StoredDType::kBool, 1},
    {"F64", StoredDType::kOther, 8},     {"U16", StoredDType::kOther, 2},
    {"I16", StoredDType::kOther, 2},     {"U32", StoredDType::kOther, 4},
    {"U64", StoredDType::kOther, 8},     {"F8_E4M3", StoredDType::kOther, 1},
    {"F8_E5M2", StoredDType::kOther, 1},
};

absl::Status Bad(std::string_view tensor, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat("safetensors header: tensor \"", std::string(tensor), "\": ", what));
}

// a * b, or nothing if it leaves int64. Both are >= 0.
bool Multiply(int64_t a, int64_t b, int64_t* product) {
  return !__builtin_mul_overflow(a, b, product);
}

absl::Status ParseShape(std::string_view tensor, simdjson::dom::element value, TensorInfo* info) {
  simdjson::dom::array dims;
  if (value.get(dims) != simdjson::SUCCESS) return Bad(tensor, "shape is not a list");
  for (simdjson::dom::element dim : dims) {
    int64_t size = 0;
    if (dim.get(size) != simdjson::SUCCESS || size < 0) {
      return Bad(tensor, "shape holds something other than integers >= 0");
    }
    if (info->shape.size() == kMaxDimensions)
      return Bad(tensor, "shape has more than 8 dimensions");
    info->shape.push_back(size);
  }
  return absl::OkStatus();
}

absl::Status ParseOffsets(std::string_view tensor, simdjson::dom::element value, TensorInfo* info) {
  simdjson::dom::array offsets;
  if (value.get(offsets) != simdjson::SUCCESS || offsets.size() != 2 ||
      offsets.at(0).get(info->begin) != simdjson::SUCCESS ||
      offsets.at(1).get(info->end) != simdjson::SUCCESS) {
    return Bad(tensor, "data_offsets is not a list of two integers");
  }
  return absl::OkStatus();
}

absl::Status CheckExtent(std::string_view tensor, const TensorInfo& info, int64_t element_bytes,
                         int64_t data_bytes) {
  if (info.begin < 0 || info.end < info.begin || info.end > data_bytes) {
    return Bad(tensor, absl::StrCat("data_offsets [", info.begin, ", ", info.end,
                                    ") do not lie in the file's ", data_bytes, " data bytes"));
  }
  int64_t bytes = element_bytes;
  for (int64_t dim : info.shape) {
    if (!Multiply(bytes, dim, &bytes)) return Bad(tensor, "shape is too large");
  }
  if (bytes != info.end - info.begin) {
    return Bad(tensor, absl::StrCat("dtype and shape need ", bytes, " bytes, data_offsets give ",
                                    info.end - info.begin));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorInfo> ParseTensor(std::string_view name, simdjson::dom::element value,
                                       int64_t data_bytes) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) return Bad(name, "entry is not an object");
  std::string_view dtype_name;
  simdjson::dom::element shape, offsets;
  if (object["dtype"].get(dtype_name) != simdjson::SUCCESS)
    return Bad(name, "dtype is missing or no text");
  if (object["shape"].get(shape) != simdjson::SUCCESS) return Bad(name, "shape is missing");
  if (object["data_offsets"].get(offsets) != simdjson::SUCCESS)
    return Bad(name, "data_offsets is missing");
  const auto* known =
      std::find_if(std::begin(kDTypes), std::end(kDTypes),
                   [&](const DTypeName& candidate) { return candidate.name == dtype_name; });
  if (known == std::end(kDTypes))
    return Bad(name, absl::StrCat("unknown dtype \"", std::string(dtype_name.substr(0, 32)), "\""));
  TensorInfo info;
  info.dtype = known->dtype;
  TESSERA_RETURN_IF_ERROR(ParseShape(name, shape, &info));
  TESSERA_RETURN_IF_ERROR(ParseOffsets(name, offsets, &info));
  TESSERA_RETURN_IF_ERROR(CheckExtent(name, info, known->bytes, data_bytes));
  return info;
}

absl::Status ParseMetadata(simdjson::dom::element value, SafetensorsHeader* header) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("safetensors header: __metadata__ is not an object");
  }
  for (auto [key, text] : object) {
    std::string_view content;
    if (text.get(content) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(
          "safetensors header: __metadata__ holds something other than text");
    }
    header->metadata.emplace(std::string(key), std::string(content));
  }
  return absl::OkStatus();
}

absl::Status CheckNoOverlap(const SafetensorsHeader& header) {
  std::vector<std::pair<int64_t, const std::pair<const std::string, TensorInfo>*>> by_begin;
  for (const auto& entry : header.tensors) {
    if (entry.second.end > entry.second.begin) by_begin.emplace_back(entry.second.begin, &entry);
  }
  std::sort(by_begin.begin(), by_begin.end());
  for (size_t i = 1; i < by_begin.size(); ++i) {
    if (by_begin[i].first < by_begin[i - 1].second->second.end) {
      return Bad(by_begin[i].second->first, absl::StrCat("its bytes overlap those of \"",
                                                         by_begin[i - 1].second->first, "\""));
    }
  }
  return absl::OkStatus();
}

// Length of the JSON part, checked against the file and the limit.
absl::StatusOr<int64_t> HeaderLength(std::string_view file, int64_t file_bytes) {
  if (static_cast<int64_t>(file.size()) < kLengthBytes || file_bytes < kLengthBytes) {
    return absl::InvalidArgumentError(
        "safetensors header: the file is shorter than the 8-byte header length");
  }
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(file[i]);
  const auto rest =
      static_cast<uint64_t>(std::min<int64_t>(file_bytes, file.size()) - kLengthBytes);
  if (length > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("safetensors header: length ", length,
                                                   " is over the limit of ", kMaxHeaderBytes,
                                                   " bytes"));
  }
  if (length > rest) {
    return absl::InvalidArgumentError(absl::StrCat("safetensors header: length ", length,
                                                   " goes past the end of the file (", rest,
                                                   " bytes follow)"));
  }
  return static_cast<int64_t>(length);
}

}  // namespace

int64_t TensorInfo::num_elements() const {
  int64_t count = 1;
  for (int64_t dim : shape) count *= dim;
  return count;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view file,
                                                         int64_t file_bytes) {
  TESSERA_ASSIGN_OR_RETURN(const int64_t length, HeaderLength(file, file_bytes));
  simdjson::dom::parser parser;
  simdjson::dom::object root;
  // parse() copies into padded memory of its own, so that nothing past the header is read.
  if (parser
          .parse(file.data() + kLengthBytes, static_cast<size_t>(length),
                 /*realloc_if_needed=*/true)
          .get(root) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("safetensors header: not a JSON object");
  }
  SafetensorsHeader header;
  header.data_offset = kLengthBytes + length;
  bool has_metadata = false;
  for (auto [key, value] : root) {
    if (key == "__metadata__") {
      if (std::exchange(has_metadata, true)) {
        return absl::InvalidArgumentError("safetensors header: __metadata__ appears twice");
      }
      TESSERA_RETURN_IF_ERROR(ParseMetadata(value, &header));
      continue;
    }
    TESSERA_ASSIGN_OR_RETURN(TensorInfo info,
                             ParseTensor(key, value, file_bytes - header.data_offset));
    if (!header.tensors.emplace(std::string(key), std::move(info)).second)
      return Bad(key, "the name appears twice");
  }
  TESSERA_RETURN_IF_ERROR(CheckNoOverlap(header));
  return header;
}

}  // namespace tessera::model
