#include "services/gateway/prompt/byte_alphabet.h"

#include <array>

#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {
namespace {

constexpr char32_t kFirstStandIn = 0x100;  // unprintable bytes are written from here on, in order
constexpr size_t kCharacters = 0x144;      // one past the highest character of the alphabet

constexpr bool IsPrintable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

struct Tables {
  std::array<char32_t, 256> character_of{};
  std::array<int16_t, kCharacters> byte_of{};  // -1: not in the alphabet
};

constexpr Tables MakeTables() {
  Tables tables;
  for (int16_t& byte : tables.byte_of) byte = -1;
  char32_t next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t character = IsPrintable(byte) ? static_cast<char32_t>(byte) : next++;
    tables.character_of[byte] = character;
    tables.byte_of[character] = static_cast<int16_t>(byte);
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

std::string ByteAlphabetCharacter(uint8_t byte) {
  const char32_t character = kTables.character_of[byte];
  if (character < 0x80) return std::string(1, static_cast<char>(character));
  return {static_cast<char>(0xC0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3F))};
}

std::string BytesOfVocabularyEntry(std::string_view entry) {
  std::string bytes;
  for (std::string_view rest = entry; !rest.empty();) {
    const Utf8Part part = ReadUtf8Part(rest);
    if (part.kind != Utf8Part::Kind::kCharacter || part.code_point >= kCharacters ||
        kTables.byte_of[part.code_point] < 0) {
      return std::string(entry);
    }
    bytes.push_back(static_cast<char>(kTables.byte_of[part.code_point]));
    rest.remove_prefix(part.length);
  }
  return bytes;
}

}  // namespace tessera::prompt
