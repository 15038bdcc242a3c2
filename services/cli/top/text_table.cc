#include "services/cli/top/text_table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace tessera::cli {
namespace {

constexpr size_t kGap = 2;

// Indices of the columns that stay.
std::vector<size_t> FittingColumns(const std::vector<TableColumn>& columns,
                                   const std::vector<size_t>& widths, size_t width) {
  std::vector<size_t> kept;
  size_t used = 0;
  for (size_t i = 0; i < columns.size(); ++i) {
    kept.push_back(i);
    used += widths[i] + (i > 0 ? kGap : 0);
  }
  while (used > width) {
    const auto least = std::max_element(kept.begin(), kept.end(), [&](size_t a, size_t b) {
      return columns[a].drop < columns[b].drop;
    });
    if (least == kept.end() || columns[*least].drop == 0) {
      break;
    }
    used -= widths[*least] + kGap;
    kept.erase(least);
  }
  return kept;
}

// One line, cut at `width`.
class LineWriter {
 public:
  LineWriter(size_t width, bool color) : width_(width), color_(color) {}

  void Cell(std::string_view text, size_t column_width, bool right, TextColor color) {
    if (!first_) {
      Blanks(kGap);
    }
    first_ = false;
    const size_t padding = column_width - std::min(column_width, text.size());
    if (right) {
      Blanks(padding);
    }
    if (!text.empty() && used_ + blanks_ < width_) {
      const std::string_view shown = text.substr(0, width_ - used_ - blanks_);
      line_.append(blanks_, ' ');
      used_ += blanks_ + shown.size();
      blanks_ = 0;
      line_ += color_ ? Colored(shown, color) : std::string(shown);
    }
    if (!right) {
      Blanks(padding);
    }
  }
  std::string Finish() { return std::move(line_); }

 private:
  void Blanks(size_t count) { blanks_ += count; }  // written before the next text only

  const size_t width_;
  const bool color_;
  bool first_ = true;
  size_t used_ = 0;
  size_t blanks_ = 0;
  std::string line_;
};

}  // namespace

std::string Colored(std::string_view text, TextColor color) {
  const char* code = "";
  switch (color) {
    case TextColor::kPlain:
      return std::string(text);
    case TextColor::kBold:
      code = "1";
      break;
    case TextColor::kGreen:
      code = "32";
      break;
    case TextColor::kYellow:
      code = "33";
      break;
    case TextColor::kRed:
      code = "31";
      break;
    case TextColor::kDim:
      code = "2";
      break;
  }
  return absl::StrCat("\033[", code, "m", absl::string_view(text.data(), text.size()), "\033[0m");
}

std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) {
      c = '?';
    }
  }
  return out;
}

std::vector<std::string> TableLines(const std::vector<TableColumn>& columns,
                                    const std::vector<std::vector<TableCell>>& rows, size_t width,
                                    bool color) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t widest = columns[i].title.size();
    for (const std::vector<TableCell>& row : rows) {
      widest = std::max(widest, row[i].text.size());
    }
    widths.push_back(widest);
  }
  const std::vector<size_t> kept = FittingColumns(columns, widths, width);
  std::vector<std::string> lines;
  LineWriter titles(width, color);
  for (const size_t i : kept) {
    titles.Cell(columns[i].title, widths[i], columns[i].right, TextColor::kBold);
  }
  lines.push_back(titles.Finish());
  for (const std::vector<TableCell>& row : rows) {
    LineWriter line(width, color);
    for (const size_t i : kept) {
      line.Cell(row[i].text, widths[i], columns[i].right, row[i].color);
    }
    lines.push_back(line.Finish());
  }
  return lines;
}

}  // namespace tessera::cli
