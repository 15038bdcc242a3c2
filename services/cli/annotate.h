// Draws the boxes of an answer on its picture.
#ifndef TESSERA_SERVICES_CLI_ANNOTATE_H_
#define TESSERA_SERVICES_CLI_ANNOTATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/gateway/prompt/image.h"

namespace tessera::cli {

struct AnnotatedBox {
  std::string
      label;       // UTF-8; printable ASCII is drawn, anything else as a hollow box per character
  int64_t x1 = 0;  // left, pixels; may lie outside the picture, as may the others
  int64_t y1 = 0;  // top
  int64_t x2 = 0;  // right, drawn
  int64_t y2 = 0;  // bottom, drawn
};

// The picture with one rectangle per box, drawn inwards from its sides and clipped at the border,
// and the label on a filled ground above it (inside where there is no room). Equal labels share a
// colour, different ones differ. A box with x2 < x1 or y2 < y1 is left out. image.rgb must have
// width * height * 3 bytes.
prompt::Image DrawBoxes(const prompt::Image& image, const std::vector<AnnotatedBox>& boxes);

// Writes DrawBoxes as a PNG file; `png_path` either keeps its old content or has all of the new
// one. INVALID_ARGUMENT: the picture has no pixels; NOT_FOUND or PERMISSION_DENIED and so on: the
// path cannot be written.
absl::Status Annotate(const prompt::Image& image, const std::vector<AnnotatedBox>& boxes,
                      const std::string& png_path);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_ANNOTATE_H_
