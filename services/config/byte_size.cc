#include "services/config/byte_size.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tessera::config {
namespace {

struct Unit {
  absl::string_view name;
  int64_t bytes;
};

constexpr Unit kUnits[] = {
    {"", 1},
    {"B", 1},
    {"KiB", int64_t{1} << 10},
    {"MiB", int64_t{1} << 20},
    {"GiB", int64_t{1} << 30},
    {"TiB", int64_t{1} << 40},
    {"KB", 1'000},
    {"MB", 1'000'000},
    {"GB", 1'000'000'000},
    {"TB", 1'000'000'000'000},
};

}  // namespace

absl::StatusOr<int64_t> ParseByteSize(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[digits]))) {
    ++digits;
  }
  const absl::string_view unit = absl::StripLeadingAsciiWhitespace(text.substr(digits));
  int64_t number = 0;
  if (absl::SimpleAtoi(text.substr(0, digits), &number)) {
    for (const Unit& known : kUnits) {
      if (known.name != unit) continue;
      if (number > std::numeric_limits<int64_t>::max() / known.bytes) break;
      return number * known.bytes;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text,
                   "\" is no byte size: write an integer below 2^63 with B, KiB, MiB, GiB, TiB, "
                   "KB, MB, GB, TB or no unit"));
}

std::string FormatByteSize(int64_t bytes) {
  absl::string_view name;
  int64_t scale = 1;
  for (const Unit& unit : kUnits) {
    if (unit.name.size() == 3 && bytes != 0 && bytes % unit.bytes == 0) {
      name = unit.name;
      scale = unit.bytes;
    }
  }
  return absl::StrCat(bytes / scale, name);
}

}  // namespace tessera::config
