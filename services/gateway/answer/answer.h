// From token ids to what a client reads: text that never splits a character, stop strings, and
// typed boxes, all while streaming. The text holds <|ref|>, <|det|> and the like as the model wrote
// them; eos, bos and pad leave no text.
#ifndef TESSERA_SERVICES_GATEWAY_ANSWER_ANSWER_H_
#define TESSERA_SERVICES_GATEWAY_ANSWER_ANSWER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/gateway/prompt/tokenizer.h"

namespace tessera::answer {

// A box as the model wrote it, 0 … 999 of the picture's width and height, and in pixels of the
// original picture.
struct Box {
  std::string phrase;  // text between <|ref|> and <|/ref|>; empty if there was none
  int32_t image_index = 0;
  int32_t x1 = 0, y1 = 0, x2 = 0, y2 = 0;  // normalised, meaningful if `parsed`
  int32_t pixel_x1 = 0, pixel_y1 = 0, pixel_x2 = 0,
          pixel_y2 = 0;  // int(v / 999 * size), as the reference computes it
  bool parsed = false;   // four numbers were read
  bool valid = false;
  std::string invalid_reason;  // empty iff valid: e.g. "3 numbers instead of 4", "x2 < x1", "1203
                               // is above 999", "no phrase"
  std::string raw;             // what the model wrote for this box
};

struct ImageSize {
  int64_t width = 0;  // pixels of the original picture
  int64_t height = 0;
};

// The reference's own parser: all boxes of a complete answer, or nullopt where it returns none
// (golden README, point 37).
struct ReferenceBox {
  std::string label;
  int64_t x1, y1, x2, y2;  // pixels
};
std::optional<std::vector<ReferenceBox>> ParseReferenceBoxes(std::string_view response,
                                                             const ImageSize& size);

// Finds boxes in a stream of text (special tokens as text). Survives anything: malformed parts
// become boxes with valid = false. Bounded memory: a <|ref|> or <|det|> that does not close within
// 4,096 bytes is given up as text. Not thread safe.
class BoxParser {
 public:
  // image_sizes: of the conversation's images. Boxes refer to the last image unless a phrase or the
  // text says otherwise; with one image that is image 0.
  explicit BoxParser(std::vector<ImageSize> image_sizes);
  ~BoxParser();
  BoxParser(BoxParser&&) noexcept;

  // Appends text and returns the boxes that it completed, in order.
  std::vector<Box> Feed(std::string_view text);
  // The end of the answer: what was still open comes back as invalid boxes.
  std::vector<Box> Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct AnswerOptions {
  std::vector<std::string> stop;  // stop strings; the text ends before the first one. Empty strings
                                  // are the caller's error.
  std::vector<ImageSize> image_sizes;
};

// What one token made of the stream.
struct AnswerDelta {
  std::string text;  // complete characters only; may be empty; joined deltas equal the whole answer
  std::vector<int32_t> token_ids;  // ids whose text is inside `text` or before it (ids wait while
                                   // their text is held back)
  std::vector<Box> boxes;
  bool stopped = false;     // a stop string was found: nothing comes after this delta
  std::string stop_string;  // the one found
};

// One per choice. Holds text back only while it may still be part of a stop string or an incomplete
// character. Not thread safe.
class AnswerStream {
 public:
  AnswerStream(const prompt::Tokenizer& tokenizer,
               AnswerOptions options);  // tokenizer outlives the stream
  ~AnswerStream();
  AnswerStream(AnswerStream&&) noexcept;

  AnswerDelta Push(int32_t token_id);
  AnswerDelta Finish();  // flushes what was held back; incomplete bytes become U+FFFD

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::answer

#endif  // TESSERA_SERVICES_GATEWAY_ANSWER_ANSWER_H_
