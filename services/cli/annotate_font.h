#ifndef TESSERA_SERVICES_CLI_ANNOTATE_FONT_H_
#define TESSERA_SERVICES_CLI_ANNOTATE_FONT_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera::cli {

inline constexpr int kGlyphWidth = 5;   // pixels
inline constexpr int kGlyphHeight = 8;  // pixels; the last row is for what hangs below the line

// Rows from the top; bit 4 of a row is its left pixel.
using Glyph = std::array<uint8_t, kGlyphHeight>;

// One glyph per character of UTF-8 text, in order. What is not printable ASCII, and each stray
// byte, is a hollow box.
std::vector<const Glyph*> GlyphsOf(std::string_view text);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_ANNOTATE_FONT_H_
