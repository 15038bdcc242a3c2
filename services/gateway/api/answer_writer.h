// One choice's tokens to public events.
#ifndef TESSERA_SERVICES_GATEWAY_API_ANSWER_WRITER_H_
#define TESSERA_SERVICES_GATEWAY_API_ANSWER_WRITER_H_

#include <deque>
#include <vector>

#include "services/gateway/answer/answer.h"
#include "services/gateway/api/tag_stripper.h"
#include "services/gateway/dispatch/dispatcher.h"
#include "tessera/v1/inference.pb.h"

namespace tessera::gateway {

// Not thread safe.
class AnswerWriter {
 public:
  // tokenizer outlives the writer.
  AnswerWriter(const prompt::Tokenizer& tokenizer, answer::AnswerOptions options, int32_t choice,
               bool strip_tags);

  // Appends the events of one more token. True: a stop string was found, and the choice's Finished
  // is among the events.
  bool Push(const GeneratedToken& token, std::vector<v1::GenerateResponse>* events);
  // The model's own end: appends what was held back, and Finished.
  void Finish(EndReason reason, std::vector<v1::GenerateResponse>* events);

  int64_t completion_tokens() const { return completion_tokens_; }

 private:
  void Append(answer::AnswerDelta delta, bool last, std::vector<v1::GenerateResponse>* events);
  void AppendFinished(v1::FinishReason reason, const std::string& stop,
                      std::vector<v1::GenerateResponse>* events);
  v1::TokenLogprob ToProto(int32_t id, float logprob) const;

  const prompt::Tokenizer& tokenizer_;
  answer::AnswerStream stream_;
  TagStripper stripper_;
  const int32_t choice_;
  const bool strip_tags_;
  std::deque<GeneratedToken> logprobs_;  // of tokens whose ids wait for their text
  int64_t completion_tokens_ = 0;
};

// Appends the next event, joining it to the last one if both are text of one choice: a slow reader
// gets fewer, longer deltas.
void AppendEvent(v1::GenerateResponse event, std::deque<v1::GenerateResponse>* queue);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_ANSWER_WRITER_H_
