// Takes grounding tags and box numbers out of a stream of text.
#ifndef TESSERA_SERVICES_GATEWAY_API_TAG_STRIPPER_H_
#define TESSERA_SERVICES_GATEWAY_API_TAG_STRIPPER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tessera::gateway {

// `<|ref|>` and `<|/ref|>` go and the phrase between them stays; everything from `<|det|>` to
// `<|/det|>` goes. Holds text back only while it may be the beginning of a tag. A `<|det|>` that
// does not close within 4,096 bytes was none: what follows is text again. Not thread safe.
class TagStripper {
 public:
  std::string Feed(absl::string_view text);
  std::string Finish();  // what was held back, unless it is inside `<|det|>`

 private:
  static constexpr size_t kMaxDetBytes = 4096;

  std::string held_;  // the beginning of a tag, perhaps
  bool inside_det_ = false;
  size_t det_bytes_ = 0;
};

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_TAG_STRIPPER_H_
