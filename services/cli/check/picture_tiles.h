// Pictures of a golden folder as the model's tiles.
#ifndef TESSERA_SERVICES_CLI_CHECK_PICTURE_TILES_H_
#define TESSERA_SERVICES_CLI_CHECK_PICTURE_TILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "services/gateway/prompt/image.h"
#include "services/gateway/prompt/tiler.h"

namespace tessera::check {

// From processor_config.json (or a golden case) and its list of [width, height].
prompt::TileGeometry MakeGeometry(const nlohmann::json& candidates, int64_t patch_size,
                                  int64_t downsample_ratio);

// Decodes a picture file, netpbm included. NOT_FOUND: there is no such file.
absl::StatusOr<prompt::Image> ReadPicture(const std::string& path);

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_PICTURE_TILES_H_
