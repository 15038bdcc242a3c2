#include "services/cli/check/golden_case.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/picture_tiles.h"

namespace tessera::check {
namespace {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Names of all pictures of the conversation, in order.
std::vector<std::string> PictureNames(const nlohmann::json& conversation) {
  std::vector<std::string> names;
  if (!conversation.is_array()) return names;
  for (const auto& message : conversation) {
    for (const auto& name : Member(message, "images")) {
      if (name.is_string()) names.push_back(name.get<std::string>());
    }
  }
  return names;
}

absl::StatusOr<prompt::TileGeometry> ReadGeometry(const std::string& model_dir) {
  TESSERA_ASSIGN_OR_RETURN(const nlohmann::json config,
                           ReadJson(model_dir + "/processor_config.json"));
  const auto number = [&](const char* key, int64_t otherwise) {
    const nlohmann::json& value = Member(config, key);
    return value.is_number_integer() ? value.get<int64_t>() : otherwise;
  };
  return MakeGeometry(Member(config, "candidate_resolutions"), number("patch_size", 14),
                      number("downsample_ratio", 2));
}

}  // namespace

std::vector<std::string> ListCases(const std::string& model_dir) {
  std::vector<std::string> names;
  for (const std::string& file : ListFolder(model_dir + "/golden")) {
    for (const std::string end : {".json", ".json.gz"}) {
      if (EndsWith(file, end)) names.push_back(file.substr(0, file.size() - end.size()));
    }
  }
  return names;
}

absl::StatusOr<GoldenCase> ReadCase(const std::string& model_dir, const std::string& name) {
  GoldenCase golden;
  golden.name = name;
  TESSERA_ASSIGN_OR_RETURN(golden.json,
                           ReadJson(absl::StrCat(model_dir, "/golden/", name, ".json")));
  TESSERA_ASSIGN_OR_RETURN(golden.tensors, GoldenTensors::Open(absl::StrCat(model_dir, "/golden/",
                                                                            name, ".safetensors")));
  golden.ids = ExpandRle(Member(golden.json, "input_ids_rle"));
  for (const auto& run : Member(golden.json, "images_seq_mask_runs")) {
    const std::vector<int64_t> numbers = Ints(run);
    const auto length = static_cast<int64_t>(golden.ids.size());
    if (numbers.size() != 2 || numbers[0] < 0 || numbers[1] < 0 || numbers[0] > length ||
        numbers[1] > length - numbers[0]) {
      return absl::InvalidArgumentError(
          absl::StrCat("golden case ", name, ": images_seq_mask_runs leave the prompt"));
    }
    golden.image_runs.push_back(numbers);
  }
  if (golden.ids.empty())
    return absl::InvalidArgumentError(absl::StrCat("golden case ", name, ": no input ids"));
  return golden;
}

absl::StatusOr<std::vector<prompt::TiledImage>> ReadTiles(const std::string& model_dir,
                                                          const GoldenCase& golden) {
  std::vector<prompt::TiledImage> tiles;
  if (golden.image_runs.empty()) return tiles;
  TESSERA_ASSIGN_OR_RETURN(const prompt::TileGeometry geometry, ReadGeometry(model_dir));
  const std::vector<std::string> names = PictureNames(Member(golden.json, "conversation"));
  const std::string stated = Text(golden.json, "images_dir");
  const std::string folder = absl::StrCat(
      model_dir, "/", stated.empty() ? "../../processor/images" : absl::StrCat("golden/", stated));
  const bool cropping = names.size() <= 2;  // golden README, point 16: surplus pictures count
  const size_t used = Member(golden.json, "images_spatial_crop").size();
  for (size_t i = 0; i < names.size() && i < used; ++i) {
    // images_dir is relative to the case's file.
    TESSERA_ASSIGN_OR_RETURN(const prompt::Image image,
                             ReadPicture(absl::StrCat(folder, "/", names[i])));
    TESSERA_ASSIGN_OR_RETURN(prompt::TiledImage tiled,
                             prompt::TileImage(geometry, image, cropping));
    tiles.push_back(std::move(tiled));
  }
  return tiles;
}

absl::StatusOr<EncodedPrompt> EncodedPrompt::Create(model::VlModel& model, const GoldenCase& golden,
                                                    const std::vector<prompt::TiledImage>& tiles,
                                                    model::ForwardProbe* probe) {
  const int64_t hidden = model.config().language.hidden_size;
  int64_t rows = 0;
  for (const prompt::TiledImage& image : tiles)
    rows += model.NumImageTokens(image.grid.across, image.grid.down);
  int64_t marked = 0;
  for (const std::vector<int64_t>& run : golden.image_runs) marked += run[1];
  if (rows != marked) {
    return absl::InvalidArgumentError(absl::StrCat("golden case ", golden.name, ": ", rows,
                                                   " image rows, but the mask marks ", marked));
  }
  EncodedPrompt encoded;
  encoded.features_.resize(static_cast<size_t>(rows * hidden));
  int64_t first = 0;
  for (const prompt::TiledImage& image : tiles) {
    const int64_t count = model.NumImageTokens(image.grid.across, image.grid.down);
    const model::ImageTiles input{image.tiles, image.num_tiles(), image.grid.across,
                                  image.grid.down};
    TESSERA_RETURN_IF_ERROR(model.EncodeImage(
        input, {encoded.features_.data() + first * hidden, count, hidden, hidden}, probe));
    first += count;
  }
  encoded.prompt_.ids = golden.ids;
  first = 0;
  for (const std::vector<int64_t>& run : golden.image_runs) {
    encoded.prompt_.images.push_back(
        {run[0], {encoded.features_.data() + first * hidden, run[1], hidden, hidden}});
    first += run[1];
  }
  return encoded;
}

}  // namespace tessera::check
