// One prompt case of a golden model folder: ids, pictures, and what the reference computed.
#ifndef TESSERA_SERVICES_CLI_CHECK_GOLDEN_CASE_H_
#define TESSERA_SERVICES_CLI_CHECK_GOLDEN_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/cli/check/golden_files.h"
#include "services/cli/check/model_runner.h"
#include "services/gateway/prompt/tiler.h"
#include "worker/model/model.h"

namespace tessera::check {

// Rows of the prompt that images fill, in order: [first, length] each. A run may span two images
// that touch.
struct GoldenCase {
  std::string name;
  nlohmann::json json;
  GoldenTensors tensors;
  std::vector<int32_t> ids;
  std::vector<std::vector<int64_t>> image_runs;
};

// Names of the cases in model_dir/golden, sorted.
std::vector<std::string> ListCases(const std::string& model_dir);
absl::StatusOr<GoldenCase> ReadCase(const std::string& model_dir, const std::string& name);

// The case's pictures as tiles, one per used image. NOT_FOUND: a picture is absent, by name.
absl::StatusOr<std::vector<prompt::TiledImage>> ReadTiles(const std::string& model_dir,
                                                          const GoldenCase& golden);

// A prompt with encoded images, which it owns.
class EncodedPrompt {
 public:
  // Encodes the tiles. INVALID_ARGUMENT: the images' rows are not as many as the case marks.
  static absl::StatusOr<EncodedPrompt> Create(model::VlModel& model, const GoldenCase& golden,
                                              const std::vector<prompt::TiledImage>& tiles,
                                              model::ForwardProbe* probe);
  const Prompt& prompt() const { return prompt_; }

 private:
  std::vector<float> features_;  // rows of all images, one after the other
  Prompt prompt_;
};

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_GOLDEN_CASE_H_
