#include <deque>
#include <utility>

#include "services/gateway/answer/answer.h"
#include "services/gateway/answer/stop_strings.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::answer {

struct AnswerStream::State {
  // A token whose text is not out yet.
  struct WaitingToken {
    int32_t id = 0;
    int64_t text_end = kUnknown;  // bytes of the whole text up to its last character; unknown while
                                  // that is incomplete
  };
  static constexpr int64_t kUnknown = -1;

  State(const prompt::Tokenizer& tokenizer, AnswerOptions options)
      : tokenizer(tokenizer),
        stops(std::move(options.stop)),
        boxes(std::move(options.image_sizes)) {}

  const prompt::Tokenizer& tokenizer;
  prompt::Utf8Assembler assembler;
  StopStrings stops;
  BoxParser boxes;
  std::deque<WaitingToken> waiting;
  int64_t decoded_bytes = 0;  // of the whole text, whether let go or held back
  int64_t emitted_bytes = 0;

  std::string_view TextOf(int32_t id) const {
    const prompt::SpecialTokens& special = tokenizer.special();
    const bool is_silent = id == special.eos || id == special.bos || id == special.pad;
    return is_silent ? std::string_view() : tokenizer.TokenBytes(id);
  }

  void MarkComplete() {
    for (auto token = waiting.rbegin(); token != waiting.rend() && token->text_end == kUnknown;
         ++token) {
      token->text_end = decoded_bytes;
    }
  }

  // text: decoded, not checked for stop strings yet.
  AnswerDelta Emit(const std::string& text, bool is_end) {
    AnswerDelta delta;
    delta.text = stops.Append(text);
    if (is_end) {
      delta.text += stops.Flush();
    }
    delta.stopped = stops.stopped();
    delta.stop_string = stops.found();
    emitted_bytes += static_cast<int64_t>(delta.text.size());
    delta.boxes = boxes.Feed(delta.text);
    const bool is_last = is_end || delta.stopped;
    if (is_last) {
      for (Box& box : boxes.Finish()) {
        delta.boxes.push_back(std::move(box));
      }
    }
    while (!waiting.empty() && (is_last || (waiting.front().text_end != kUnknown &&
                                            waiting.front().text_end <= emitted_bytes))) {
      delta.token_ids.push_back(waiting.front().id);
      waiting.pop_front();
    }
    return delta;
  }
};

AnswerStream::AnswerStream(const prompt::Tokenizer& tokenizer, AnswerOptions options)
    : state_(std::make_unique<State>(tokenizer, std::move(options))) {}

AnswerStream::~AnswerStream() = default;
AnswerStream::AnswerStream(AnswerStream&&) noexcept = default;

AnswerDelta AnswerStream::Push(int32_t token_id) {
  State& s = *state_;
  if (s.stops.stopped()) {
    AnswerDelta nothing;
    nothing.stopped = true;
    nothing.stop_string = s.stops.found();
    return nothing;
  }
  const std::string text = s.assembler.Append(s.TextOf(token_id));
  s.decoded_bytes += static_cast<int64_t>(text.size());
  s.waiting.push_back({token_id, State::kUnknown});
  if (!s.assembler.HasIncomplete()) {
    s.MarkComplete();
  }
  return s.Emit(text, /*is_end=*/false);
}

AnswerDelta AnswerStream::Finish() {
  State& s = *state_;
  const std::string text = s.stops.stopped() ? std::string() : s.assembler.Flush();
  s.decoded_bytes += static_cast<int64_t>(text.size());
  s.MarkComplete();
  return s.Emit(text, /*is_end=*/true);
}

}  // namespace tessera::answer
