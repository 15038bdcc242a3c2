#include "services/cli/check/picture_tiles.h"

#include "services/base/status_macros.h"
#include "services/cli/check/golden_files.h"
#include "services/gateway/prompt/image_netpbm.h"

namespace tessera::check {

prompt::TileGeometry MakeGeometry(const nlohmann::json& candidates, int64_t patch_size,
                                  int64_t downsample_ratio) {
  prompt::TileGeometry geometry;
  if (candidates.is_array()) {
    for (const nlohmann::json& candidate : candidates) {
      const std::vector<int64_t> size = Ints(candidate);
      if (size.size() == 2) geometry.candidate_resolutions.emplace_back(size[0], size[1]);
    }
  }
  if (!geometry.candidate_resolutions.empty())
    geometry.image_size = geometry.candidate_resolutions.front().first;
  geometry.patch_size = patch_size;
  geometry.downsample_ratio = downsample_ratio;
  return geometry;
}

absl::StatusOr<prompt::Image> ReadPicture(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const std::string bytes, ReadText(path));
  if (bytes.size() > 2 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6')) {
    return prompt::DecodeNetpbm(bytes, prompt::ImageLimits{});
  }
  return prompt::DecodeImage(bytes, prompt::ImageLimits{});
}

}  // namespace tessera::check
