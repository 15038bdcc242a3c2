#include "services/cli/client/answer_text.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace tessera::cli {
namespace {

nlohmann::json RectangleJson(bool present, const v1::Rectangle& rectangle) {
  if (!present) {
    return nullptr;
  }
  return nlohmann::json::array({rectangle.x1(), rectangle.y1(), rectangle.x2(), rectangle.y2()});
}

nlohmann::json BoxJson(const v1::Box& box) {
  return {{"phrase", box.phrase()},
          {"image_index", box.image_index()},
          {"normalized", RectangleJson(box.has_normalized(), box.normalized())},
          {"pixels", RectangleJson(box.has_pixels(), box.pixels())},
          {"valid", box.valid()},
          {"invalid_reason", box.invalid_reason()},
          {"raw", box.raw()}};
}

}  // namespace

std::string AnswerJson(const Answer& answer) {
  nlohmann::json boxes = nlohmann::json::array();
  for (const v1::Box& box : answer.boxes) {
    boxes.push_back(BoxJson(box));
  }
  const nlohmann::ordered_json object = {
      {"text", answer.text},
      {"token_ids", answer.token_ids},
      {"boxes", boxes},
      {"usage",
       {{"prompt_tokens", answer.usage.prompt_tokens()},
        {"image_tokens", answer.usage.image_tokens()},
        {"cached_tokens", answer.usage.cached_tokens()},
        {"completion_tokens", answer.usage.completion_tokens()}}},
      {"finish_reason", FinishReasonName(answer.finished.reason())},
      {"stop_string", answer.finished.stop_string()},
      {"seed", answer.started.seed()},
      {"request_id", answer.started.request_id()},
      {"model", answer.started.model()},
      {"model_revision", answer.started.model_revision()}};
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string BoxText(const v1::Box& box) {
  const std::string name = box.phrase().empty() ? "(no phrase)" : box.phrase();
  if (!box.valid()) {
    return absl::StrCat(name, "  not a valid box: ", box.invalid_reason(), ": ", box.raw());
  }
  const v1::Rectangle& pixels = box.pixels();
  return absl::StrCat(name, "  image ", box.image_index(), "  pixels (", pixels.x1(), ", ",
                      pixels.y1(), ") to (", pixels.x2(), ", ", pixels.y2(), ")");
}

std::string FinishReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_STOP_STRING:
      return "stop_string";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    default:
      return "";
  }
}

std::string ErrorText(const std::string& command, const absl::Status& status) {
  return absl::StrCat("tessera ", command, ": ", absl::StatusCodeToString(status.code()), ": ",
                      status.message(), "\n");
}

}  // namespace tessera::cli
