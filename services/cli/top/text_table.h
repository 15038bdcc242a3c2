// A table of text that gives up its least important columns until it fits.
#ifndef TESSERA_SERVICES_CLI_TOP_TEXT_TABLE_H_
#define TESSERA_SERVICES_CLI_TOP_TEXT_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

namespace tessera::cli {

enum class TextColor { kPlain, kBold, kGreen, kYellow, kRed, kDim };

// The text between escape codes; as it is for kPlain.
std::string Colored(std::string_view text, TextColor color);

// Printable ASCII of the same length: what a peer sent must not steer the terminal.
std::string Printable(std::string_view text);

struct TableColumn {
  std::string title;
  bool right = false;  // aligned
  int drop = 0;        // 0: never dropped; of the others, the highest goes first
};

struct TableCell {
  std::string text;  // printable ASCII
  TextColor color = TextColor::kPlain;
};

// The title line and one line per row, no wider than `width` characters (escape codes not counted),
// without line breaks and trailing blanks. Each row has one cell per column.
std::vector<std::string> TableLines(const std::vector<TableColumn>& columns,
                                    const std::vector<std::vector<TableCell>>& rows, size_t width,
                                    bool color);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_TOP_TEXT_TABLE_H_
