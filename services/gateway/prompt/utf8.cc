#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct LeadByte {
  int continuation = 0;       // bytes that follow; 0: not a lead byte of a longer character
  uint8_t second_min = 0x80;  // the second byte's range, inclusive
  uint8_t second_max = 0xBF;
};

LeadByte ClassifyLead(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  return {};
}

bool IsPythonSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// Appends the decoding of bytes to *out and returns how many bytes at the end are an incomplete
// character.
size_t AppendLossy(std::string_view bytes, std::string* out) {
  while (!bytes.empty()) {
    const Utf8Part part = ReadUtf8Part(bytes);
    if (part.kind == Utf8Part::Kind::kIncomplete) return part.length;
    out->append(part.kind == Utf8Part::Kind::kCharacter ? bytes.substr(0, part.length)
                                                        : kReplacement);
    bytes.remove_prefix(part.length);
  }
  return 0;
}

}  // namespace

Utf8Part ReadUtf8Part(std::string_view bytes) {
  const auto first = static_cast<uint8_t>(bytes[0]);
  if (first < 0x80) return {Utf8Part::Kind::kCharacter, 1, first};
  const LeadByte lead = ClassifyLead(first);
  if (lead.continuation == 0) return {Utf8Part::Kind::kIllFormed, 1, 0};
  char32_t code_point = first & (0x3F >> lead.continuation);
  for (int i = 1; i <= lead.continuation; ++i) {
    const auto at = static_cast<size_t>(i);
    if (at == bytes.size()) return {Utf8Part::Kind::kIncomplete, at, 0};
    const auto byte = static_cast<uint8_t>(bytes[at]);
    const uint8_t low = i == 1 ? lead.second_min : 0x80;
    const uint8_t high = i == 1 ? lead.second_max : 0xBF;
    if (byte < low || byte > high) return {Utf8Part::Kind::kIllFormed, at, 0};
    code_point = (code_point << 6) | (byte & 0x3F);
  }
  return {Utf8Part::Kind::kCharacter, static_cast<size_t>(lead.continuation) + 1, code_point};
}

size_t FindInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Part part = ReadUtf8Part(text.substr(at));
    if (part.kind != Utf8Part::Kind::kCharacter) return at;
    at += part.length;
  }
  return std::string_view::npos;
}

std::string LossyUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (AppendLossy(bytes, &out) > 0) out.append(kReplacement);
  return out;
}

std::string Utf8Assembler::Append(std::string_view bytes) {
  std::string out;
  std::string joined;
  if (!kept_.empty()) {
    joined = kept_ + std::string(bytes);
    bytes = joined;
  }
  const size_t incomplete = AppendLossy(bytes, &out);
  kept_ = std::string(bytes.substr(bytes.size() - incomplete));
  return out;
}

std::string Utf8Assembler::Flush() {
  if (kept_.empty()) return "";
  kept_.clear();
  return std::string(kReplacement);
}

std::string_view StripLeft(std::string_view text) {
  while (!text.empty()) {
    const Utf8Part part = ReadUtf8Part(text);
    if (part.kind != Utf8Part::Kind::kCharacter || !IsPythonSpace(part.code_point)) break;
    text.remove_prefix(part.length);
  }
  return text;
}

std::string_view StripRight(std::string_view text) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && IsContinuation(text[start])) --start;
    const Utf8Part part = ReadUtf8Part(text.substr(start));
    if (part.kind != Utf8Part::Kind::kCharacter || !IsPythonSpace(part.code_point)) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string_view Strip(std::string_view text) { return StripRight(StripLeft(text)); }

}  // namespace tessera::prompt
