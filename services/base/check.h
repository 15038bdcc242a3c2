// For broken invariants only: a failed check ends the process and prints file, line, condition, the
// streamed text and a stack. Never reachable from a user's input; bad input is an absl::Status.
//
//   TESSERA_CHECK(index < size) << "block " << index;
#ifndef TESSERA_SERVICES_BASE_CHECK_H_
#define TESSERA_SERVICES_BASE_CHECK_H_

#include <sstream>

namespace tessera {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();  // prints and aborts
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace tessera

#define TESSERA_CHECK(condition)                                                  \
  switch (0)                                                                      \
  case 0:                                                                         \
  default:                                                                        \
    if (condition) [[likely]] {                                                   \
    } else /* NOLINT(readability-misleading-indentation): allows `<<` after it */ \
      ::tessera::CheckFailure(__FILE__, __LINE__, #condition).stream()

#endif  // TESSERA_SERVICES_BASE_CHECK_H_
