// Any bytes as an answer: the reference parser, and the streaming parser, which must find the same
// boxes however the text is cut.
#include <cstdint>
#include <string_view>
#include <vector>

#include "services/base/check.h"
#include "services/gateway/answer/answer.h"

namespace {

using tessera::answer::Box;
using tessera::answer::BoxParser;

std::vector<Box> Parse(std::string_view text, size_t step) {
  BoxParser parser({{640, 480}, {1, 16384}});
  std::vector<Box> boxes;
  for (size_t at = 0; at < text.size(); at += step) {
    for (Box& box : parser.Feed(text.substr(at, step))) boxes.push_back(std::move(box));
  }
  for (Box& box : parser.Finish()) boxes.push_back(std::move(box));
  return boxes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  tessera::answer::ParseReferenceBoxes(text, {640, 480});
  const std::vector<Box> whole = Parse(text, size + 1);
  const std::vector<Box> bytes = Parse(text, 1);
  TESSERA_CHECK(whole.size() == bytes.size()) << whole.size() << " and " << bytes.size();
  for (size_t i = 0; i < whole.size(); ++i) {
    TESSERA_CHECK(whole[i].raw == bytes[i].raw && whole[i].valid == bytes[i].valid);
    TESSERA_CHECK(whole[i].valid == whole[i].invalid_reason.empty());
  }
  return 0;
}
