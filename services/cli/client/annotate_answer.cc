#include "services/cli/client/annotate_answer.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/annotate.h"
#include "services/gateway/prompt/image.h"

namespace tessera::cli {

std::string AnnotatedPath(const std::string& path, size_t image_index) {
  if (image_index == 0) {
    return path;
  }
  const std::filesystem::path whole(path);
  const std::string name =
      absl::StrCat(whole.stem().string(), "-", image_index, whole.extension().string());
  return (whole.parent_path() / name).string();
}

absl::Status AnnotateAnswer(const std::vector<std::string>& pictures, const Answer& answer,
                            const std::string& path) {
  if (pictures.empty()) {
    return absl::InvalidArgumentError("--annotate: there is no picture to draw on");
  }
  for (size_t i = 0; i < pictures.size(); ++i) {
    std::vector<AnnotatedBox> boxes;
    for (const v1::Box& box : answer.boxes) {
      if (box.valid() && box.image_index() == static_cast<int32_t>(i)) {
        const v1::Rectangle& at = box.pixels();
        boxes.push_back({box.phrase(), at.x1(), at.y1(), at.x2(), at.y2()});
      }
    }
    if (i > 0 && boxes.empty()) {
      continue;
    }
    TESSERA_ASSIGN_OR_RETURN(const prompt::Image image,
                             prompt::DecodeImage(pictures[i], prompt::ImageLimits()));
    TESSERA_RETURN_IF_ERROR(Annotate(image, boxes, AnnotatedPath(path, i)));
  }
  return absl::OkStatus();
}

}  // namespace tessera::cli
