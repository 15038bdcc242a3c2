#include "services/gateway/prompt/processor_config.h"

#include <simdjson.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::prompt {
namespace {

using simdjson::dom::element;

constexpr int64_t kMaxCandidates = 1024;
constexpr int64_t kMaxSidePixels = 16384;

absl::Status Wrong(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("processor_config.json: ", what));
}

absl::StatusOr<int64_t> ReadInteger(element node, const std::string& key, int64_t low,
                                    int64_t high) {
  int64_t value = 0;
  if (node.get(value) != simdjson::SUCCESS) return Wrong(absl::StrCat(key, " is not an integer"));
  if (value < low || value > high) {
    return Wrong(absl::StrCat(key, " is ", value, ", not from ", low, " to ", high));
  }
  return value;
}

absl::StatusOr<int64_t> ReadKey(element root, const char* key, int64_t low, int64_t high) {
  element node;
  if (root[key].get(node) != simdjson::SUCCESS) return Wrong(absl::StrCat(key, " is missing"));
  return ReadInteger(node, key, low, high);
}

absl::Status ReadCandidates(element root, TileGeometry* geometry) {
  simdjson::dom::array candidates;
  if (root["candidate_resolutions"].get(candidates) != simdjson::SUCCESS ||
      candidates.size() == 0 || candidates.size() > kMaxCandidates) {
    return Wrong(
        absl::StrCat("candidate_resolutions is not a list of 1 to ", kMaxCandidates, " pairs"));
  }
  for (const element node : candidates) {
    const std::string key =
        absl::StrCat("candidate_resolutions[", geometry->candidate_resolutions.size(), "]");
    simdjson::dom::array pair;
    if (node.get(pair) != simdjson::SUCCESS || pair.size() != 2) {
      return Wrong(absl::StrCat(key, " is not a pair"));
    }
    TESSERA_ASSIGN_OR_RETURN(const int64_t width,
                             ReadInteger(pair.at(0).value_unsafe(), key, 1, kMaxSidePixels));
    TESSERA_ASSIGN_OR_RETURN(const int64_t height,
                             ReadInteger(pair.at(1).value_unsafe(), key, 1, kMaxSidePixels));
    geometry->candidate_resolutions.emplace_back(width, height);
  }
  geometry->image_size = geometry->candidate_resolutions.front().first;
  for (const auto& [width, height] : geometry->candidate_resolutions) {
    if (width % geometry->image_size != 0 || height % geometry->image_size != 0) {
      return Wrong(absl::StrCat("candidate_resolutions: ", width, " x ", height,
                                " is not made of tiles of ", geometry->image_size, " pixels"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckHalves(element root, const char* key) {
  element node;
  if (root[key].get(node) != simdjson::SUCCESS) return absl::OkStatus();
  simdjson::dom::array values;
  bool good = node.get(values) == simdjson::SUCCESS && values.size() == 3;
  for (size_t i = 0; good && i < 3; ++i) {
    double value = 0;
    good = values.at(i).get(value) == simdjson::SUCCESS && value == 0.5;
  }
  return good ? absl::OkStatus() : Wrong(absl::StrCat(key, " other than 0.5 is not supported"));
}

absl::Status CheckText(element root, const char* key, const char* supported) {
  element node;
  if (root[key].get(node) != simdjson::SUCCESS) return absl::OkStatus();
  std::string_view text;
  if (node.get(text) == simdjson::SUCCESS && text == supported) return absl::OkStatus();
  return Wrong(absl::StrCat(key, " other than '", supported, "' is not supported"));
}

}  // namespace

absl::StatusOr<TileGeometry> ParseProcessorConfig(std::string_view json) {
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(simdjson::padded_string(json)).get(root) != simdjson::SUCCESS ||
      !root.is_object()) {
    return absl::InvalidArgumentError("processor_config.json is not a JSON object");
  }
  TileGeometry geometry;
  TESSERA_RETURN_IF_ERROR(ReadCandidates(root, &geometry));
  TESSERA_ASSIGN_OR_RETURN(geometry.patch_size,
                           ReadKey(root, "patch_size", 1, geometry.image_size));
  TESSERA_ASSIGN_OR_RETURN(geometry.downsample_ratio, ReadKey(root, "downsample_ratio", 1, 16));
  TESSERA_RETURN_IF_ERROR(CheckHalves(root, "image_mean"));
  TESSERA_RETURN_IF_ERROR(CheckHalves(root, "image_std"));
  TESSERA_RETURN_IF_ERROR(CheckText(root, "sft_format", "deepseek"));
  TESSERA_RETURN_IF_ERROR(CheckText(root, "image_token", "<image>"));
  return geometry;
}

}  // namespace tessera::prompt
