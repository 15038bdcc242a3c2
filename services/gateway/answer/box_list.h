// The content of one <|det|>…<|/det|>, whatever the model wrote there.
#ifndef TESSERA_SERVICES_GATEWAY_ANSWER_BOX_LIST_H_
#define TESSERA_SERVICES_GATEWAY_ANSWER_BOX_LIST_H_

#include <string_view>
#include <vector>

#include "services/gateway/answer/answer.h"

namespace tessera::answer {

// One box per innermost pair of brackets, in order; valid only where the content is `[[x1, y1, x2,
// y2], …]` with whole or decimal numbers from 0 to 999 in order. Empty for `[]`. Content without
// brackets is one invalid box. phrase and image_index are left for the caller to set.
std::vector<Box> ParseBoxList(std::string_view content, const ImageSize& size);

}  // namespace tessera::answer

#endif  // TESSERA_SERVICES_GATEWAY_ANSWER_BOX_LIST_H_
