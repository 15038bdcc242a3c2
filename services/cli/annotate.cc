#include "services/cli/annotate.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"
#include "services/cli/annotate_font.h"
#include "services/gateway/prompt/image_encode.h"

namespace tessera::cli {
namespace {

using Color = std::array<uint8_t, 3>;

// Hues far apart first; strong enough to be seen on photographs.
constexpr Color kColors[] = {{230, 25, 75},  {60, 180, 75},  {0, 130, 200},   {245, 130, 48},
                             {145, 30, 180}, {255, 225, 25}, {0, 190, 190},   {240, 50, 230},
                             {128, 128, 0},  {120, 70, 20},  {170, 255, 120}, {0, 0, 128}};

// Past the table: steps of the golden angle around the colour circle, darker with each round.
Color ColorOf(size_t index) {
  if (index < std::size(kColors)) return kColors[index];
  const double hue = std::fmod(static_cast<double>(index) * 0.618033988749895, 1.0) * 6;
  const double level = 255 - static_cast<double>(index / 24 % 6) * 30;
  Color color;
  for (int c = 0; c < 3; ++c) {
    const double away = std::fabs(std::fmod(hue + 6 - 2 * c, 6.0) - 3);
    color[static_cast<size_t>(c)] = static_cast<uint8_t>(level * std::clamp(away - 1, 0.0, 1.0));
  }
  return color;
}

Color InkOn(const Color& ground) {
  const int brightness = 299 * ground[0] + 587 * ground[1] + 114 * ground[2];
  return brightness > 140'000 ? Color{0, 0, 0} : Color{255, 255, 255};
}

// Fills the part that lies on the picture. Right and bottom are exclusive.
void Fill(prompt::Image& image, int64_t left, int64_t top, int64_t right, int64_t bottom,
          const Color& color) {
  left = std::max<int64_t>(left, 0);
  top = std::max<int64_t>(top, 0);
  right = std::min(right, image.width);
  bottom = std::min(bottom, image.height);
  for (int64_t y = top; y < bottom; ++y) {
    uint8_t* pixel = image.rgb.data() + (y * image.width + left) * 3;
    for (int64_t x = left; x < right; ++x, pixel += 3) std::copy(color.begin(), color.end(), pixel);
  }
}

// So far outside that nothing of it shows, and sums with it cannot overflow.
int64_t Bounded(int64_t coordinate) {
  constexpr int64_t kFar = int64_t{1} << 40;
  return std::clamp(coordinate, -kFar, kFar);
}

AnnotatedBox Bounded(const AnnotatedBox& box) {
  return {.label = box.label,
          .x1 = Bounded(box.x1),
          .y1 = Bounded(box.y1),
          .x2 = Bounded(box.x2),
          .y2 = Bounded(box.y2)};
}

void DrawRectangle(prompt::Image& image, const AnnotatedBox& box, const Color& color) {
  const int64_t line = std::max<int64_t>(1, std::min(image.width, image.height) / 200);
  const int64_t right = box.x2 + 1;
  const int64_t bottom = box.y2 + 1;
  Fill(image, box.x1, box.y1, right, std::min(box.y1 + line, bottom), color);
  Fill(image, box.x1, std::max(bottom - line, box.y1), right, bottom, color);
  Fill(image, box.x1, box.y1, std::min(box.x1 + line, right), bottom, color);
  Fill(image, std::max(right - line, box.x1), box.y1, right, bottom, color);
}

void DrawLabel(prompt::Image& image, const AnnotatedBox& box, const Color& color) {
  const std::vector<const Glyph*> glyphs = GlyphsOf(box.label);
  if (glyphs.empty()) return;
  const int64_t scale = std::max<int64_t>(1, std::min(image.width, image.height) / 200);
  const int64_t advance = (kGlyphWidth + 1) * scale;
  const int64_t width = static_cast<int64_t>(glyphs.size()) * advance + scale;
  const int64_t height = (kGlyphHeight + 1) * scale;
  const int64_t left = std::max<int64_t>(0, std::min(box.x1, image.width - width));
  const int64_t above = box.y1 - height;
  const int64_t top = std::clamp<int64_t>(above >= 0 ? above : box.y1, 0,
                                          std::max<int64_t>(0, image.height - height));
  Fill(image, left, top, left + width, top + height, color);
  const Color ink = InkOn(color);
  int64_t x = left + scale;
  for (const Glyph* glyph : glyphs) {
    if (x >= image.width) break;
    for (int row = 0; row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) {
        if (((*glyph)[static_cast<size_t>(row)] >> (kGlyphWidth - 1 - column) & 1) == 0) continue;
        const int64_t px = x + column * scale;
        const int64_t py = top + scale + row * scale;
        Fill(image, px, py, px + scale, py + scale, ink);
      }
    }
    x += advance;
  }
}

absl::Status WriteAll(int file, const std::string& bytes, const std::string& path) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = write(file, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("writing ", path));
    written += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::Status WriteAtomically(const std::string& bytes, const std::string& path) {
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("creating ", temporary));
  absl::Status status = WriteAll(file, bytes, temporary);
  if (close(file) != 0 && status.ok()) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("writing ", temporary));
  }
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("replacing ", path));
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace

prompt::Image DrawBoxes(const prompt::Image& image, const std::vector<AnnotatedBox>& boxes) {
  TESSERA_CHECK(image.rgb.size() == static_cast<size_t>(image.width * image.height * 3))
      << image.width << " x " << image.height;
  prompt::Image drawn = image;
  std::map<std::string, Color> colors;
  std::vector<AnnotatedBox> shown;
  for (const AnnotatedBox& box : boxes) {
    if (box.x2 < box.x1 || box.y2 < box.y1) continue;
    colors.try_emplace(box.label, ColorOf(colors.size()));
    shown.push_back(Bounded(box));
  }
  for (const AnnotatedBox& box : shown) DrawRectangle(drawn, box, colors[box.label]);
  // Labels last, so that no later rectangle strikes one through.
  for (const AnnotatedBox& box : shown) DrawLabel(drawn, box, colors[box.label]);
  return drawn;
}

absl::Status Annotate(const prompt::Image& image, const std::vector<AnnotatedBox>& boxes,
                      const std::string& png_path) {
  if (image.width <= 0 || image.height <= 0 ||
      image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", image.width, " x ", image.height,
                                                   " pixels with ", image.rgb.size(),
                                                   " bytes cannot be drawn on"));
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string png, prompt::EncodePng(DrawBoxes(image, boxes)));
  return WriteAtomically(png, png_path);
}

}  // namespace tessera::cli
