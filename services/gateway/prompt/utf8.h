// UTF-8 as Rust and Python see it: where a text is ill-formed, lossy decoding, decoding piece by
// piece, and Python's strip().
#ifndef TESSERA_SERVICES_GATEWAY_PROMPT_UTF8_H_
#define TESSERA_SERVICES_GATEWAY_PROMPT_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tessera::prompt {

// What stands at the start of some bytes.
struct Utf8Part {
  enum class Kind { kCharacter, kIllFormed, kIncomplete };
  Kind kind = Kind::kCharacter;
  size_t length =
      0;  // bytes of the character, of the maximal ill-formed part, or of what is there so far
  char32_t code_point = 0;  // kCharacter only
};

// bytes is not empty. kIncomplete: all bytes are the beginning of a character that more bytes could
// complete.
Utf8Part ReadUtf8Part(std::string_view bytes);

// The offset of the first ill-formed part, or npos if all of the text is valid.
size_t FindInvalidUtf8(std::string_view text);

// Each maximal ill-formed part becomes one U+FFFD.
std::string LossyUtf8(std::string_view bytes);

// Lossy decoding of bytes that arrive in any portions: joined results equal LossyUtf8 of all bytes.
// Not thread safe.
class Utf8Assembler {
 public:
  // The complete characters so far; keeps at most three bytes of an incomplete one.
  std::string Append(std::string_view bytes);
  // What was kept, as one U+FFFD; empty if nothing was.
  std::string Flush();
  bool HasIncomplete() const { return !kept_.empty(); }

 private:
  std::string kept_;
};

// Python's str.strip(): Unicode blanks on both sides (U+001C … U+001F count). The result points
// into text, which is valid UTF-8.
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
std::string_view Strip(std::string_view text);

}  // namespace tessera::prompt

#endif  // TESSERA_SERVICES_GATEWAY_PROMPT_UTF8_H_
