#include "services/gateway/api/generate_call.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "services/gateway/api/sampling.h"
#include "services/gateway/api/wire_request.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

constexpr absl::Duration kBusyRetryDelay = absl::Seconds(1);
constexpr size_t kMaxRequestIdBytes = 128;
constexpr int32_t kMaxPriority = 100;

uint64_t RandomNumber() {
  thread_local absl::BitGen generator;
  return absl::Uniform<uint64_t>(generator);
}

absl::Status CheckRequestId(const std::string& id) {
  const bool printable = std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c));
  });
  if (id.size() <= kMaxRequestIdBytes && printable) return absl::OkStatus();
  return rpc::BadFieldError("request_id", absl::StrCat("must be at most ", kMaxRequestIdBytes,
                                                       " bytes of printable ASCII"));
}

absl::Status CheckPriority(int32_t priority) {
  if (priority >= -kMaxPriority && priority <= kMaxPriority) return absl::OkStatus();
  return rpc::BadFieldError(
      "priority", absl::StrCat(priority, " is not in [", -kMaxPriority, ", ", kMaxPriority, "]"));
}

std::shared_ptr<const v1::PreparedPrompt> ToProto(prompt::PreparedPrompt prompt) {
  auto proto = std::make_shared<v1::PreparedPrompt>();
  proto->mutable_token_ids()->Add(prompt.token_ids.begin(), prompt.token_ids.end());
  proto->set_num_prompt_tokens(static_cast<int32_t>(prompt.token_ids.size()));
  for (prompt::PreparedImage& image : prompt.images) {
    v1::PromptImage& part = *proto->add_images();
    part.set_tiles(image.tiles.tiles.data(), image.tiles.tiles.size());
    image.tiles.tiles = {};  // two copies of all tiles at once would double the call's memory
    part.set_tiles_across(static_cast<int32_t>(image.tiles.grid.across));
    part.set_tiles_down(static_cast<int32_t>(image.tiles.grid.down));
    part.set_first_token(static_cast<int32_t>(image.first_token));
    part.set_num_tokens(static_cast<int32_t>(image.num_tokens));
    part.set_identity(image.identity.data(), image.identity.size());
  }
  return proto;
}

const char* ReasonLabel(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP_STRING:
      return "stop_string";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    default:
      return "stop";
  }
}

}  // namespace

std::string NewRequestId() { return absl::StrFormat("%016x%016x", RandomNumber(), RandomNumber()); }

// Hands a sequence's events to the call under the choice's number.
class GenerateCall::Observer final : public SequenceObserver {
 public:
  Observer(std::shared_ptr<GenerateCall> call, int32_t index)
      : call_(std::move(call)), index_(index) {}
  void OnTokens(absl::Span<const GeneratedToken> tokens) override {
    call_->OnTokens(index_, tokens);
  }
  void OnEnd(const absl::StatusOr<SequenceEnd>& end) override { call_->OnEnd(index_, end); }

 private:
  const std::shared_ptr<GenerateCall> call_;
  const int32_t index_;
};

GenerateCall::GenerateCall(const ApiContext& api, grpc::CallbackServerContext* context)
    : api_(api), context_(context) {
  deadline_ = std::min(rpc::FromChrono(context->deadline()), started_ + absl::Hours(24 * 7));
  if (rpc::FromChrono(context->deadline()) == absl::InfiniteFuture())
    deadline_ = started_ + api.default_deadline;
}

void GenerateCall::Begin(const grpc::ByteBuffer& bytes) {
  self_ = shared_from_this();
  request_id_ = NewRequestId();
  absl::StatusOr<Admission::Ticket> ticket = api_.admission.Admit();
  if (!ticket.ok()) return Fail(rpc::WithRetryDelay(ticket.status(), kBusyRetryDelay));
  ticket_ = *std::move(ticket);
  const absl::Status queued = api_.pool.Submit([self = self_, bytes] { self->Prepare(bytes); });
  if (!queued.ok()) Fail(rpc::WithRetryDelay(queued, kBusyRetryDelay));
}

void GenerateCall::Prepare(const grpc::ByteBuffer& bytes) {
  if (stopped_) return;
  if (absl::Now() >= deadline_)
    return Fail(absl::DeadlineExceededError("the call's deadline passed before it was begun"));
  const absl::Time begin = absl::Now();
  v1::GenerateRequest request;
  absl::Status status = ParseRequest(bytes, &request);
  if (status.ok()) status = PrepareRequest(request);
  api_.metrics.Get(telemetry::HistogramId::kPreprocessing)
      .Observe(absl::ToDoubleSeconds(absl::Now() - begin));
  if (!status.ok()) return Fail(status);
  StartChoice(0);
  Advance();
}

absl::Status GenerateCall::PrepareRequest(const v1::GenerateRequest& request) {
  TESSERA_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  if (!request.request_id().empty()) {
    absl::MutexLock lock(&mutex_);  // a cancellation may be sending the headers
    request_id_ = request.request_id();
  }
  if (!request.model().empty() && request.model() != api_.model.name) {
    return absl::NotFoundError(absl::StrCat("the model \"", request.model(),
                                            "\" is not served here; \"", api_.model.name, "\" is"));
  }
  TESSERA_RETURN_IF_ERROR(CheckSampling(request.sampling()));
  TESSERA_RETURN_IF_ERROR(CheckPriority(request.priority()));
  priority_ = request.priority();
  const int64_t context_tokens = api_.model.context_tokens;
  TESSERA_ASSIGN_OR_RETURN(
      PreparedConversation prepared,
      api_.preparer.Prepare({request.messages(), request.system_prompt(), request.grounding()},
                            context_tokens, [this] { return stopped_.load(); }));
  const auto prompt_tokens = static_cast<int64_t>(prepared.prompt.token_ids.size());
  const prompt::Tokenizer& tokenizer = api_.preparer.processor().tokenizer();
  TESSERA_ASSIGN_OR_RETURN(sampling_,
                           ResolveSampling(request.sampling(), prompt_tokens, context_tokens,
                                           tokenizer.special().eos, RandomNumber()));
  num_tiles_ = static_cast<int32_t>(prepared.num_tiles);
  image_tokens_ = prepared.prompt.num_image_tokens;
  api_.metrics.Get(telemetry::CounterId::kPromptTokens).Add(static_cast<double>(prompt_tokens));
  api_.metrics.Get(telemetry::CounterId::kImages)
      .Add(static_cast<double>(prepared.image_sizes.size()));
  api_.metrics.Get(telemetry::CounterId::kImageTiles).Add(static_cast<double>(prepared.num_tiles));
  prompt_ = ToProto(std::move(prepared.prompt));

  absl::MutexLock lock(&mutex_);
  answer::AnswerOptions options;
  options.stop.assign(request.sampling().stop().begin(), request.sampling().stop().end());
  options.image_sizes = prepared.image_sizes;
  choices_.resize(static_cast<size_t>(std::max(1, request.sampling().n())));
  for (size_t i = 0; i < choices_.size(); ++i) {
    choices_[i].writer = std::make_unique<AnswerWriter>(tokenizer, options, static_cast<int32_t>(i),
                                                        request.grounding().strip_tags());
  }
  v1::GenerateResponse event;
  v1::Started& started = *event.mutable_started();
  started.set_request_id(request_id_);
  started.set_model(api_.model.name);
  started.set_seed(sampling_.seed());
  started.set_model_revision(api_.model.revision);
  queue_.push_back(std::move(event));
  return absl::OkStatus();
}

void GenerateCall::StartChoice(int32_t index) {
  SequenceRequest request;
  request.id = absl::StrCat(request_id_, "/", index);
  request.model_revision = api_.model.revision;
  request.prompt = prompt_;
  auto sampling = std::make_shared<v1::DecodeSampling>(sampling_);
  sampling->set_choice(static_cast<uint32_t>(index));
  request.sampling = std::move(sampling);
  request.tiles = num_tiles_;
  request.priority = priority_;
  request.deadline = deadline_;
  if (stopped_) return;
  std::shared_ptr<Sequence> sequence = api_.dispatcher.Start(
      std::move(request), std::make_shared<Observer>(shared_from_this(), index));
  {
    absl::MutexLock lock(&mutex_);
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (!ended_ && !choice.done) choice.sequence = std::exchange(sequence, nullptr);
  }
  if (sequence != nullptr) sequence->Cancel();  // the call or the choice ended meanwhile
}

void GenerateCall::ObserveTokens(Choice& choice, int64_t count) {
  const absl::Time now = absl::Now();
  if (choice.last_token == absl::InfinitePast()) {
    api_.metrics.Get(telemetry::HistogramId::kTimeToFirstToken)
        .Observe(absl::ToDoubleSeconds(now - started_));
  } else {
    const double each = absl::ToDoubleSeconds(now - choice.last_token) / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i)
      api_.metrics.Get(telemetry::HistogramId::kInterTokenLatency).Observe(each);
  }
  choice.last_token = now;
  api_.metrics.Get(telemetry::CounterId::kGenerationTokens).Add(static_cast<double>(count));
}

void GenerateCall::AppendAll(std::vector<v1::GenerateResponse> events) {
  for (v1::GenerateResponse& event : events) {
    if (event.has_finished()) {
      api_.metrics
          .Get(telemetry::CounterId::kRequestSuccess, ReasonLabel(event.finished().reason()))
          .Add();
    }
    AppendEvent(std::move(event), &queue_);
  }
}

void GenerateCall::OnTokens(int32_t index, absl::Span<const GeneratedToken> tokens) {
  std::shared_ptr<Sequence> stopped;
  int32_t others = 0;
  {
    absl::MutexLock lock(&mutex_);
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (ended_ || choice.done || tokens.empty()) return;
    ObserveTokens(choice, static_cast<int64_t>(tokens.size()));
    std::vector<v1::GenerateResponse> events;
    for (const GeneratedToken& token : tokens) {
      if (!choice.writer->Push(token, &events)) continue;
      choice.done = true;
      stopped = std::move(choice.sequence);
      break;
    }
    AppendAll(std::move(events));
    // The first choice's prompt is in the worker's prefix cache now, so the others need not compute
    // it again.
    if (!std::exchange(others_started_, true)) others = static_cast<int32_t>(choices_.size());
    CompleteIfAllDone();
  }
  if (stopped != nullptr) stopped->Cancel();
  for (int32_t other = 1; other < others; ++other) StartChoice(other);
  Advance();
}

void GenerateCall::OnEnd(int32_t index, const absl::StatusOr<SequenceEnd>& end) {
  if (!end.ok()) return Fail(end.status());
  int32_t others = 0;
  {
    absl::MutexLock lock(&mutex_);
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (ended_ || choice.done) return;
    choice.done = true;
    choice.sequence = nullptr;
    if (index == 0) cached_tokens_ = end->cached_tokens;
    std::vector<v1::GenerateResponse> events;
    choice.writer->Finish(end->reason, &events);
    AppendAll(std::move(events));
    if (!std::exchange(others_started_, true)) others = static_cast<int32_t>(choices_.size());
    CompleteIfAllDone();
  }
  for (int32_t other = 1; other < others; ++other) StartChoice(other);
  Advance();
}

void GenerateCall::CompleteIfAllDone() {
  int64_t completion_tokens = 0;
  for (const Choice& choice : choices_) {
    if (!choice.done) return;
    completion_tokens += choice.writer->completion_tokens();
  }
  v1::GenerateResponse event;
  v1::Usage& usage = *event.mutable_usage();
  usage.set_prompt_tokens(prompt_->token_ids_size());
  usage.set_image_tokens(static_cast<int32_t>(image_tokens_));
  usage.set_cached_tokens(
      static_cast<int32_t>(std::min<int64_t>(cached_tokens_, prompt_->token_ids_size())));
  usage.set_completion_tokens(static_cast<int32_t>(completion_tokens));
  queue_.push_back(std::move(event));
  SetEnd(absl::OkStatus());
}

void GenerateCall::SetEnd(const absl::Status& status) {
  ended_ = true;
  end_ = status;
  stopped_ = true;
}

std::vector<std::shared_ptr<Sequence>> GenerateCall::TakeSequences() {
  std::vector<std::shared_ptr<Sequence>> sequences;
  for (Choice& choice : choices_) {
    if (choice.sequence != nullptr) sequences.push_back(std::move(choice.sequence));
    choice.sequence = nullptr;
  }
  return sequences;
}

void GenerateCall::Fail(const absl::Status& status) {
  std::vector<std::shared_ptr<Sequence>> sequences;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return;
    SetEnd(status);
    sequences = TakeSequences();
  }
  for (const auto& sequence : sequences) sequence->Cancel();
  Advance();
}

void GenerateCall::Advance() {
  grpc::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finishing_) return;
    if (queue_.empty() && !ended_) return;
    // Before the first write and before Finish alike: the headers go out with either.
    if (!std::exchange(headers_set_, true))
      context_->AddInitialMetadata("x-request-id", request_id_);
    if (!queue_.empty()) {
      bool own = false;
      grpc::SerializationTraits<v1::GenerateResponse>::Serialize(queue_.front(), &write_buffer_,
                                                                 &own);
      queue_.pop_front();
      writing_ = true;
    } else {
      finishing_ = true;
      status = rpc::ToGrpcStatus(end_);
    }
    if (finishing_) {
      api_.metrics.Get(telemetry::CounterId::kRequests, absl::StatusCodeToString(end_.code()))
          .Add();
    }
  }
  // finishing_ and writing_ admit one thread at a time to each of these.
  if (write_buffer_.Valid()) {
    StartWrite(&write_buffer_);
  } else {
    Finish(status);
  }
}

void GenerateCall::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    write_buffer_.Clear();
    writing_ = false;
    if (!ok) queue_.clear();
  }
  if (!ok) Fail(absl::CancelledError("the client ended the call"));
  Advance();
}

void GenerateCall::OnCancel() {
  {
    absl::MutexLock lock(&mutex_);
    queue_.clear();
  }
  Fail(absl::Now() >= deadline_ ? absl::DeadlineExceededError("the call's deadline passed")
                                : absl::CancelledError("the client ended the call"));
}

void GenerateCall::OnDone() {
  std::vector<std::shared_ptr<Sequence>> sequences;
  {
    absl::MutexLock lock(&mutex_);
    sequences = TakeSequences();
  }
  for (const auto& sequence : sequences) sequence->Cancel();
  api_.metrics.Get(telemetry::HistogramId::kEndToEndLatency)
      .Observe(absl::ToDoubleSeconds(absl::Now() - started_));
  ticket_ = Admission::Ticket();
  const std::shared_ptr<GenerateCall> self = std::move(self_);
}

}  // namespace tessera::gateway
