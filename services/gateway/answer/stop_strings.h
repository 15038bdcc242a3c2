// Finds stop strings in a stream of text and says how much of it can be let go.
#ifndef TESSERA_SERVICES_GATEWAY_ANSWER_STOP_STRINGS_H_
#define TESSERA_SERVICES_GATEWAY_ANSWER_STOP_STRINGS_H_

#include <string>
#include <string_view>
#include <vector>

namespace tessera::answer {

// Holds text back only while it may be the beginning of a stop string. Not thread safe.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  // none of them empty

  // Appends text; returns what can be let go. Once a stop string is there, that is the text before
  // the earliest one, and found() names it (of those that begin at the same place: the shortest,
  // which the stream completed first).
  std::string Append(std::string_view text);
  // The end of the stream: what was held back.
  std::string Flush();

  bool stopped() const { return stopped_; }
  const std::string& found() const { return found_; }

 private:
  size_t HeldBytes() const;

  std::vector<std::string> stops_;  // shortest first
  std::string held_;
  bool stopped_ = false;
  std::string found_;
};

}  // namespace tessera::answer

#endif  // TESSERA_SERVICES_GATEWAY_ANSWER_STOP_STRINGS_H_
