#include <algorithm>
#include <utility>

#include "services/gateway/answer/answer.h"
#include "services/gateway/answer/box_geometry.h"
#include "services/gateway/answer/box_list.h"

namespace tessera::answer {
namespace {

constexpr size_t kMaxOpenBytes = 4096;

enum class Tag { kRefOpen, kRefClose, kDetOpen, kDetClose };
constexpr std::pair<Tag, std::string_view> kTags[] = {{Tag::kRefOpen, kRefOpen},
                                                      {Tag::kRefClose, kRefClose},
                                                      {Tag::kDetOpen, kDetOpen},
                                                      {Tag::kDetClose, kDetClose}};

struct FoundTag {
  size_t at = std::string_view::npos;
  Tag tag = Tag::kRefOpen;
  size_t bytes = 0;
};

FoundTag FindFirstTag(std::string_view text) {
  FoundTag first;
  for (const auto& [tag, name] : kTags) {
    const size_t at = text.find(name);
    if (at < first.at) {
      first = {at, tag, name.size()};
    }
  }
  return first;
}

// Bytes at the end of text that may be the beginning of a tag.
size_t PartialTagBytes(std::string_view text) {
  for (size_t bytes = std::min(text.size(), kDetClose.size() - 1); bytes > 0; --bytes) {
    const std::string_view end = text.substr(text.size() - bytes);
    for (const auto& [tag, name] : kTags) {
      if (bytes < name.size() && name.substr(0, bytes) == end) {
        return bytes;
      }
    }
  }
  return 0;
}

}  // namespace

struct BoxParser::State {
  enum class Place { kOutside, kInPhrase, kInList };

  std::vector<ImageSize> image_sizes;
  Place place = Place::kOutside;
  std::string unread;  // a tag may begin at its end
  std::string phrase;  // of the last <|ref|>
  bool has_phrase = false;
  std::string list;        // what stands after <|det|> so far
  std::vector<Box> boxes;  // complete, not handed out yet

  ImageSize Size() const { return image_sizes.empty() ? ImageSize{} : image_sizes.back(); }

  void Add(Box box) {
    box.phrase = has_phrase ? phrase : "";
    box.image_index = image_sizes.empty() ? 0 : static_cast<int32_t>(image_sizes.size() - 1);
    if (box.valid && (!has_phrase || image_sizes.empty())) {
      box.valid = false;
      box.invalid_reason = has_phrase ? "no picture" : "no phrase";
    }
    boxes.push_back(std::move(box));
  }

  void AddUnclosed() {
    Box box;
    box.raw = list;
    box.invalid_reason = "<|det|> is not closed";
    Add(std::move(box));
  }

  void EndList() {
    for (Box& box : ParseBoxList(list, Size())) {
      Add(std::move(box));
    }
    has_phrase = false;
    place = Place::kOutside;
  }

  void Text(std::string_view text) {
    std::string* open = place == Place::kInPhrase ? &phrase
                        : place == Place::kInList ? &list
                                                  : nullptr;
    if (open == nullptr) {
      return;
    }
    open->append(text.substr(0, kMaxOpenBytes - std::min(kMaxOpenBytes, open->size())));
    if (open->size() < kMaxOpenBytes) {
      return;
    }
    if (place == Place::kInList) {
      AddUnclosed();
    }
    has_phrase = false;
    place = Place::kOutside;
  }

  void Enter(Tag tag) {
    if (place == Place::kInList && (tag == Tag::kDetOpen || tag == Tag::kRefOpen)) {
      AddUnclosed();
      has_phrase = false;
    }
    switch (tag) {
      case Tag::kRefOpen:
        // A second <|ref|> inside a phrase is passed over, as the reference does.
        if (place != Place::kInPhrase) {
          phrase.clear();
        }
        has_phrase = false;
        place = Place::kInPhrase;
        break;
      case Tag::kRefClose:
        if (place == Place::kInPhrase) {
          has_phrase = true;
          place = Place::kOutside;
        }
        break;
      case Tag::kDetOpen:
        has_phrase = has_phrase || place == Place::kInPhrase;  // <|/ref|> was forgotten
        list.clear();
        place = Place::kInList;
        break;
      case Tag::kDetClose:
        if (place == Place::kInList) {
          EndList();
        }
        break;
    }
  }
};

BoxParser::BoxParser(std::vector<ImageSize> image_sizes) : state_(std::make_unique<State>()) {
  state_->image_sizes = std::move(image_sizes);
}

BoxParser::~BoxParser() = default;
BoxParser::BoxParser(BoxParser&&) noexcept = default;

std::vector<Box> BoxParser::Feed(std::string_view text) {
  State& s = *state_;
  s.unread.append(text);
  std::string_view rest = s.unread;
  for (FoundTag found = FindFirstTag(rest); found.at != std::string_view::npos;
       found = FindFirstTag(rest)) {
    s.Text(rest.substr(0, found.at));
    s.Enter(found.tag);
    rest.remove_prefix(found.at + found.bytes);
  }
  const size_t kept = PartialTagBytes(rest);
  s.Text(rest.substr(0, rest.size() - kept));
  s.unread = std::string(rest.substr(rest.size() - kept));
  return std::exchange(s.boxes, {});
}

std::vector<Box> BoxParser::Finish() {
  State& s = *state_;
  s.Text(std::exchange(s.unread, {}));
  if (s.place == State::Place::kInList) {
    s.AddUnclosed();
    s.place = State::Place::kOutside;
  }
  return std::exchange(s.boxes, {});
}

}  // namespace tessera::answer
