#include "services/gateway/api/answer_writer.h"

#include <string>
#include <string_view>
#include <utility>

namespace tessera::gateway {
namespace {

v1::Box ToProto(const answer::Box& box) {
  v1::Box proto;
  proto.set_phrase(box.phrase);
  proto.set_image_index(box.image_index);
  if (box.parsed) {
    v1::Rectangle& normalized = *proto.mutable_normalized();
    normalized.set_x1(box.x1);
    normalized.set_y1(box.y1);
    normalized.set_x2(box.x2);
    normalized.set_y2(box.y2);
    v1::Rectangle& pixels = *proto.mutable_pixels();
    pixels.set_x1(box.pixel_x1);
    pixels.set_y1(box.pixel_y1);
    pixels.set_x2(box.pixel_x2);
    pixels.set_y2(box.pixel_y2);
  }
  proto.set_valid(box.valid);
  proto.set_invalid_reason(box.invalid_reason);
  proto.set_raw(box.raw);
  return proto;
}

}  // namespace

AnswerWriter::AnswerWriter(const prompt::Tokenizer& tokenizer, answer::AnswerOptions options,
                           int32_t choice, bool strip_tags)
    : tokenizer_(tokenizer),
      stream_(tokenizer, std::move(options)),
      choice_(choice),
      strip_tags_(strip_tags) {}

v1::TokenLogprob AnswerWriter::ToProto(int32_t id, float logprob) const {
  v1::TokenLogprob proto;
  proto.set_token_id(id);
  proto.set_token_bytes(std::string(tokenizer_.TokenBytes(id)));
  proto.set_logprob(logprob);
  return proto;
}

bool AnswerWriter::Push(const GeneratedToken& token, std::vector<v1::GenerateResponse>* events) {
  ++completion_tokens_;
  if (token.has_logprobs) logprobs_.push_back(token);
  answer::AnswerDelta delta = stream_.Push(token.id);
  const bool stopped = delta.stopped;
  const std::string stop = delta.stop_string;
  Append(std::move(delta), stopped, events);
  if (stopped) AppendFinished(v1::FINISH_REASON_STOP_STRING, stop, events);
  return stopped;
}

void AnswerWriter::Finish(EndReason reason, std::vector<v1::GenerateResponse>* events) {
  Append(stream_.Finish(), /*last=*/true, events);
  AppendFinished(reason == EndReason::kStop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH, "",
                 events);
}

void AnswerWriter::Append(answer::AnswerDelta delta, bool last,
                          std::vector<v1::GenerateResponse>* events) {
  std::string text = strip_tags_ ? stripper_.Feed(delta.text) : std::move(delta.text);
  if (strip_tags_ && last) text += stripper_.Finish();
  if (!text.empty() || !delta.token_ids.empty()) {
    v1::GenerateResponse& event = events->emplace_back();
    event.set_choice(choice_);
    v1::TextDelta& proto = *event.mutable_text();
    proto.set_text(std::move(text));
    proto.mutable_token_ids()->Add(delta.token_ids.begin(), delta.token_ids.end());
    for (size_t i = 0; i < delta.token_ids.size() && !logprobs_.empty(); ++i) {
      const GeneratedToken& token = logprobs_.front();
      v1::TokenLogprobs& entry = *proto.add_logprobs();
      *entry.mutable_token() = ToProto(token.id, token.logprob);
      for (const auto& [id, logprob] : token.top) *entry.add_top() = ToProto(id, logprob);
      logprobs_.pop_front();
    }
  }
  for (const answer::Box& box : delta.boxes) {
    v1::GenerateResponse& event = events->emplace_back();
    event.set_choice(choice_);
    *event.mutable_box() = gateway::ToProto(box);
  }
}

void AnswerWriter::AppendFinished(v1::FinishReason reason, const std::string& stop,
                                  std::vector<v1::GenerateResponse>* events) {
  v1::GenerateResponse& event = events->emplace_back();
  event.set_choice(choice_);
  event.mutable_finished()->set_reason(reason);
  event.mutable_finished()->set_stop_string(stop);
}

void AppendEvent(v1::GenerateResponse event, std::deque<v1::GenerateResponse>* queue) {
  if (event.has_text() && !queue->empty() && queue->back().has_text() &&
      queue->back().choice() == event.choice()) {
    v1::TextDelta& last = *queue->back().mutable_text();
    last.mutable_text()->append(event.text().text());
    last.mutable_token_ids()->MergeFrom(event.text().token_ids());
    last.mutable_logprobs()->MergeFrom(event.text().logprobs());
    return;
  }
  queue->push_back(std::move(event));
}

}  // namespace tessera::gateway
