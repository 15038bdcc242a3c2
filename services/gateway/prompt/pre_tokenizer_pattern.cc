#include "services/gateway/prompt/pre_tokenizer_pattern.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::prompt {
namespace {

// Contents of character classes.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kHexDigit = "0-9a-fA-F";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < in_.size()) TESSERA_RETURN_IF_ERROR(Step());
    if (in_class_) return Refuse("a character class that is not closed");
    if (first_unit_end_ > 0 && out_.substr(first_unit_end_) == "+$") {
      const std::string unit = out_.substr(0, first_unit_end_);
      return absl::StrCat("(?<!", unit, ")", out_);
    }
    return out_;
  }

 private:
  absl::Status Refuse(const std::string& what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " at byte ", at_, " of the pattern is not supported"));
  }

  absl::Status Step() {
    const char c = in_[at_];
    if (c == '\\') {
      TESSERA_RETURN_IF_ERROR(Escape());
    } else if (in_class_) {
      TESSERA_RETURN_IF_ERROR(InClass(c));
    } else if (c == '[') {
      in_class_ = true;
      class_start_ = at_;
      Copy(1);
      if (Peek() == '^') Copy(1);
    } else if (c == '(') {
      TESSERA_RETURN_IF_ERROR(Group());
    } else if (c == '{') {
      TESSERA_RETURN_IF_ERROR(Interval());
    } else {
      Copy(1);
    }
    if (!in_class_ && first_unit_end_ == 0 && !seen_other_) {
      if (c == ']' || (c == '\\' && out_.back() == ']')) {
        first_unit_end_ = out_.size();
      } else {
        seen_other_ = true;
      }
    }
    return absl::OkStatus();
  }

  char Peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  void Copy(size_t count) {
    out_.append(in_.substr(at_, count));
    at_ += count;
  }

  absl::Status InClass(char c) {
    if (c == '[') return Refuse("'[' inside a character class");
    if (c == '&' && Peek(1) == '&') return Refuse("'&&' inside a character class");
    if (c == ']') {
      const bool first =
          at_ == class_start_ + 1 || (at_ == class_start_ + 2 && in_[class_start_ + 1] == '^');
      if (first) return Refuse("an empty character class");
      in_class_ = false;
    }
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status Group() {
    const std::string_view rest = in_.substr(at_);
    if (!rest.starts_with("(?")) {
      if (rest.starts_with("(*")) return Refuse("a verb");
      Copy(1);
      return absl::OkStatus();
    }
    for (const std::string_view known :
         {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"}) {
      if (rest.starts_with(known)) {
        Copy(known.size());
        return absl::OkStatus();
      }
    }
    return Refuse("the group option");
  }

  // {n}, {n,}, {n,m} and Oniguruma's {,m}; a possessive '+' after an interval means a repetition
  // there.
  absl::Status Interval() {
    const size_t close = in_.find('}', at_);
    const std::string body(close == std::string_view::npos ? ""
                                                           : in_.substr(at_ + 1, close - at_ - 1));
    bool numeric = !body.empty() && body != ",";
    for (const char c : body) numeric = numeric && (absl::ascii_isdigit(c) || c == ',');
    if (!numeric) return Refuse("'{' without an interval");
    if (close + 1 < in_.size() && in_[close + 1] == '+') return Refuse("'+' after an interval");
    if (body[0] == ',') {
      absl::StrAppend(&out_, "{0", body, "}");
    } else {
      absl::StrAppend(&out_, "{", body, "}");
    }
    at_ = close + 1;
    return absl::OkStatus();
  }

  absl::Status Class(const std::string& contents, bool negated) {
    if (negated && in_class_) return Refuse("a negated class inside a character class");
    if (in_class_) {
      out_.append(contents);
    } else {
      absl::StrAppend(&out_, negated ? "[^" : "[", contents, "]");
    }
    at_ += 2;
    return absl::OkStatus();
  }

  absl::Status Escape() {
    const char c = Peek(1);
    if (at_ + 1 >= in_.size()) return Refuse("a final backslash");
    switch (c) {
      case 's':
        return Class(std::string(kWhiteSpace), false);
      case 'S':
        return Class(std::string(kWhiteSpace), true);
      case 'w':
        return Class(std::string(kWord), false);
      case 'W':
        return Class(std::string(kWord), true);
      case 'h':
        return Class(std::string(kHexDigit), false);
      case 'H':
        return Class(std::string(kHexDigit), true);
      case 'd':
        return Class(R"(\p{Nd})", false);
      case 'D':
        return Class(R"(\p{Nd})", true);
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        Copy(2);
        return absl::OkStatus();
      case 'A':
      case 'z':
        if (in_class_) return Refuse("an anchor inside a character class");
        Copy(2);
        return absl::OkStatus();
      case 'v':
        out_.append(R"(\x{b})");
        at_ += 2;
        return absl::OkStatus();
      case 'p':
      case 'P':
        return Braced();
      case 'x':
        return Peek(2) == '{' ? Braced() : HexEscape(2);
      case 'u':
        return HexEscape(4);
      default:
        break;
    }
    if (absl::ascii_isalnum(c)) return Refuse(absl::StrCat("the escape \\", std::string(1, c)));
    Copy(2);
    return absl::OkStatus();
  }

  absl::Status Braced() {
    const size_t close = in_.find('}', at_);
    if (Peek(2) != '{' || close == std::string_view::npos) return Refuse("an escape without {}");
    Copy(close + 1 - at_);
    return absl::OkStatus();
  }

  absl::Status HexEscape(size_t digits) {
    const std::string hex(in_.substr(std::min(at_ + 2, in_.size()), digits));
    bool good = hex.size() == digits;
    for (const char c : hex) good = good && absl::ascii_isxdigit(c);
    if (!good) return Refuse("an incomplete hexadecimal escape");
    absl::StrAppend(&out_, "\\x{", hex, "}");
    at_ += 2 + digits;
    return absl::OkStatus();
  }

  const std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  bool in_class_ = false;
  size_t class_start_ = 0;
  size_t first_unit_end_ =
      0;  // in out_: where the class that begins the pattern ends; 0: it begins otherwise
  bool seen_other_ = false;
};

}  // namespace

absl::StatusOr<std::string> TranslatePattern(std::string_view pattern) {
  return Translator(pattern).Run();
}

std::string LiteralPattern(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\0') {
      out.append(R"(\x00)");
      continue;
    }
    if (static_cast<uint8_t>(c) < 0x80 && !absl::ascii_isalnum(c)) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace tessera::prompt
