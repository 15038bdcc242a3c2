#include <openssl/sha.h>

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/compare.h"
#include "services/cli/check/data_checks.h"
#include "services/cli/check/golden_files.h"
#include "services/cli/check/picture_tiles.h"
#include "services/gateway/prompt/chat_template.h"

namespace tessera::check {
namespace {

using nlohmann::json;

std::string Sha256Hex(const uint8_t* bytes, size_t count) {
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes, count, digest);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
}

std::vector<std::string> Texts(const json& array) {
  std::vector<std::string> texts;
  if (!array.is_array()) return texts;
  for (const json& text : array) texts.push_back(text.is_string() ? text.get<std::string>() : "");
  return texts;
}

// The pictures and tokenizers that the cases share, each read once.
class Shelf {
 public:
  explicit Shelf(std::string dir) : dir_(std::move(dir)) {}

  // NOT_FOUND: the file is absent.
  absl::StatusOr<const prompt::Image*> Picture(const std::string& name) {
    auto entry = pictures_.find(name);
    if (entry == pictures_.end()) {
      TESSERA_ASSIGN_OR_RETURN(prompt::Image image,
                               ReadPicture(absl::StrCat(dir_, "/images/", name)));
      entry = pictures_.emplace(name, std::move(image)).first;
    }
    return &entry->second;
  }

  absl::StatusOr<const prompt::Tokenizer*> Tokenizer(const std::string& name) {
    auto entry = tokenizers_.find(name);
    if (entry == tokenizers_.end()) {
      TESSERA_ASSIGN_OR_RETURN(auto tokenizer,
                               ReadTokenizer(absl::StrCat(dir_, "/../tokenizers/", name)));
      entry = tokenizers_.emplace(name, std::move(tokenizer)).first;
    }
    return entry->second.get();
  }

 private:
  std::string dir_;
  std::map<std::string, prompt::Image> pictures_;
  std::map<std::string, std::unique_ptr<prompt::Tokenizer>> tokenizers_;
};

prompt::ReferenceRequest MakeRequest(const json& golden) {
  prompt::ReferenceRequest request;
  const json& conversation = Member(golden, "conversation");
  if (conversation.is_array()) {
    for (const json& message : conversation)
      request.conversation.push_back({Text(message, "role"), Text(message, "content")});
  }
  if (golden.contains("prompt")) request.prompt = Text(golden, "prompt");
  request.apply_sft_format = Member(golden, "apply_sft_format") == true;
  request.system_prompt = Text(golden, "system_prompt");
  request.inference_mode = Member(golden, "inference_mode") != false;
  request.mask_prompt = Member(golden, "mask_prompt") == true;
  return request;
}

std::vector<std::string> PictureNames(const json& golden) {
  std::vector<std::string> names = Texts(Member(golden, "images"));
  const json& conversation = Member(golden, "conversation");
  if (!conversation.is_array()) return names;
  for (const json& message : conversation) {
    for (const std::string& name : Texts(Member(message, "images"))) names.push_back(name);
  }
  return names;
}

std::vector<int32_t> MaskOf(const json& runs, size_t length) {
  std::vector<int32_t> mask(length, 0);
  if (!runs.is_array()) return mask;
  for (const json& run : runs) {
    const std::vector<int64_t> numbers = Ints(run);
    if (numbers.size() != 2) continue;
    for (int64_t i = numbers[0]; i < numbers[0] + numbers[1] && i < static_cast<int64_t>(length);
         ++i) {
      if (i >= 0) mask[i] = 1;
    }
  }
  return mask;
}

void CompareTiles(const json& expected, const prompt::ReferencePrompt& prompt,
                  const std::string& name, Report* report) {
  std::vector<std::string> hashes;
  std::vector<uint8_t> all;
  for (const prompt::TiledImage& image : prompt.tiles) {
    const size_t bytes = static_cast<size_t>(3 * image.side * image.side);
    for (int64_t i = 0; i < image.num_tiles(); ++i)
      hashes.push_back(Sha256Hex(image.tiles.data() + i * bytes, bytes));
    all.insert(all.end(), image.tiles.begin(), image.tiles.end());
  }
  const std::vector<std::string> theirs = Texts(Member(expected, "tile_sha256"));
  int64_t mismatches = hashes.size() == theirs.size() ? 0 : 1;
  for (size_t i = 0; i < hashes.size() && i < theirs.size(); ++i)
    mismatches += hashes[i] != theirs[i] ? 1 : 0;
  const std::string together = Text(expected, "tiles_sha256");
  if (!together.empty() && Sha256Hex(all.data(), all.size()) != together) ++mismatches;
  report->AddMismatches("tiles", mismatches, name);
}

void ComparePrompt(const json& expected, const prompt::ReferencePrompt& prompt,
                   const std::string& name, Report* report) {
  report->AddMismatches("display text", prompt.sft_format == Text(expected, "sft_format") ? 0 : 1,
                        name);
  report->AddMismatches(
      "prompt ids", CountMismatches(prompt.input_ids, ExpandRle(Member(expected, "input_ids_rle"))),
      name);
  report->AddMismatches(
      "labels", CountMismatches(prompt.target_ids, ExpandRle(Member(expected, "target_ids_rle"))),
      name);
  const std::vector<int32_t> mask(prompt.images_seq_mask.begin(), prompt.images_seq_mask.end());
  report->AddMismatches(
      "image mask",
      CountMismatches(mask, MaskOf(Member(expected, "images_seq_mask_runs"), mask.size())), name);
  std::vector<int32_t> grids, expected_grids;
  for (const prompt::TileGrid& grid : prompt.grids) {
    grids.push_back(static_cast<int32_t>(grid.across));
    grids.push_back(static_cast<int32_t>(grid.down));
  }
  if (grids.empty()) grids = {0, 0};  // what the reference shows for a text-only prompt
  for (const json& grid : Member(expected, "images_spatial_crop")) {
    for (const int32_t side : Ids(grid)) expected_grids.push_back(side);
  }
  report->AddMismatches("tile grids", CountMismatches(grids, expected_grids), name);
  const std::vector<int32_t> counts(prompt.num_image_tokens.begin(), prompt.num_image_tokens.end());
  report->AddMismatches("image token counts",
                        CountMismatches(counts, Ids(Member(expected, "num_image_tokens"))), name);
  CompareTiles(expected, prompt, name, report);
}

absl::Status CheckCase(const json& golden, const json& resolutions, Shelf& shelf, Report* report) {
  const std::string name = Text(golden, "name");
  prompt::ReferenceRequest request = MakeRequest(golden);
  for (const std::string& picture : PictureNames(golden)) {
    const auto image = shelf.Picture(picture);
    if (absl::IsNotFound(image.status())) {
      report->Skip(name, absl::StrCat("picture ", picture, " is absent"));
      return absl::OkStatus();
    }
    TESSERA_RETURN_IF_ERROR(image.status());
    request.images.push_back(*image);
  }
  TESSERA_ASSIGN_OR_RETURN(const prompt::Tokenizer* const tokenizer,
                           shelf.Tokenizer(Text(golden, "tokenizer")));
  const json& patch = Member(golden, "patch_size");
  const json& downsample = Member(golden, "downsample_ratio");
  const prompt::TileGeometry geometry =
      MakeGeometry(Member(resolutions, Text(golden, "resolutions")),
                   patch.is_number_integer() ? patch.get<int64_t>() : 14,
                   downsample.is_number_integer() ? downsample.get<int64_t>() : 2);
  const auto prompt = prompt::PrepareReference(*tokenizer, geometry, request);
  const json& expected = Member(golden, "expected");
  if (expected.contains("error")) {
    report->AddMismatches("refusals", prompt.ok() ? 1 : 0, name);
  } else if (prompt.ok()) {
    ComparePrompt(expected, *prompt, name, report);
  } else {
    report->AddMismatches("prompt ids", 1,
                          absl::StrCat(name, " (", prompt.status().message(), ")"));
  }
  return absl::OkStatus();
}

// Size and decoded bytes of each picture.
absl::Status CheckPictures(const std::string& dir, Shelf& shelf, Report* report) {
  TESSERA_ASSIGN_OR_RETURN(const json pictures, ReadJson(dir + "/images.json"));
  if (!pictures.is_object())
    return absl::InvalidArgumentError("golden file images.json is not an object");
  for (const auto& [name, expected] : pictures.items()) {
    const auto image = shelf.Picture(name);
    if (absl::IsNotFound(image.status())) {
      report->Skip(name, "picture is absent");
      continue;
    }
    const bool same =
        image.ok() && Member(expected, "width") == (*image)->width &&
        Member(expected, "height") == (*image)->height &&
        Sha256Hex((*image)->rgb.data(), (*image)->rgb.size()) == Text(expected, "rgb_sha256");
    report->AddMismatches(
        Member(expected, "lossy_codec") == true ? "decoded lossy pictures" : "decoded pictures",
        same ? 0 : 1, name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckProcessor(const std::string& dir, Report* report) {
  report->SetSubject("processor");
  Shelf shelf(dir);
  if (FileExists(dir + "/images.json") || FileExists(dir + "/images.json.gz")) {
    TESSERA_RETURN_IF_ERROR(CheckPictures(dir, shelf, report));
  }
  TESSERA_ASSIGN_OR_RETURN(const std::vector<json> cases, ReadJsonLines(dir + "/cases.jsonl"));
  TESSERA_ASSIGN_OR_RETURN(const json resolutions, ReadJson(dir + "/resolutions.json"));
  for (const json& golden : cases)
    TESSERA_RETURN_IF_ERROR(CheckCase(golden, resolutions, shelf, report));
  return absl::OkStatus();
}

}  // namespace tessera::check
