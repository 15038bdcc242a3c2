#include "services/cli/top/screen.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "services/base/check.h"

namespace tessera::cli {
namespace {

constexpr char kEnter[] = "\033[?1049h\033[?25l";  // alternate screen, no cursor
constexpr char kLeave[] = "\033[?25h\033[?1049l";
constexpr char kHome[] = "\033[H";
constexpr char kEraseLine[] = "\033[K";
constexpr char kEraseBelow[] = "\033[J";

bool WriteAll(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0 && errno != EINTR) {
      return false;
    }
    text.remove_prefix(count > 0 ? static_cast<size_t>(count) : 0);
  }
  return true;
}

// Waits for the switch or, if key_fd is not -1, for input.
enum class Event { kNone, kLeave, kInput };
Event WaitForEvent(const LeaveSwitch& leave, int key_fd, absl::Time until) {
  pollfd watched[] = {{leave.poll_fd(), POLLIN, 0}, {key_fd, POLLIN, 0}};
  const int64_t left =
      absl::ToInt64Milliseconds(absl::Ceil(until - absl::Now(), absl::Milliseconds(1)));
  poll(watched, 2, static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
  if ((watched[0].revents & POLLIN) != 0) {
    return Event::kLeave;
  }
  return watched[1].revents != 0 ? Event::kInput : Event::kNone;
}

}  // namespace

LeaveSwitch::LeaveSwitch() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  TESSERA_CHECK(event_ >= 0) << "no descriptor left";
}

LeaveSwitch::~LeaveSwitch() { close(event_); }

void LeaveSwitch::Set() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_, &one, sizeof(one));
}

ScreenSize TerminalSize() {
  winsize size = {};
  ScreenSize found;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    found = {size.ws_col, size.ws_row};
  }
  return found;
}

Screen::Screen(const LeaveSwitch& leave) : leave_(leave) {
  if (isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    // Stopped by Ctrl-Z, the shell would get the terminal as it is now.
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    reads_keys_ = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
  }
  WriteAll(kEnter);
}

Screen::~Screen() {
  WriteAll(kLeave);
  if (reads_keys_) {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
}

bool Screen::Show(const std::string& lines) {
  // Erasing each line's rest instead of the whole screen beforehand: nothing flickers. The last
  // line break goes, since it would scroll a full screen.
  std::string_view text = lines;
  if (!text.empty() && text.back() == '\n') {
    text.remove_suffix(1);
  }
  return WriteAll(absl::StrCat(kHome,
                               absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                                                   {{"\n", absl::StrCat(kEraseLine, "\r\n")}}),
                               kEraseLine, kEraseBelow));
}

bool Screen::WaitToLeave(absl::Time until) {
  do {
    switch (WaitForEvent(leave_, reads_keys_ ? STDIN_FILENO : -1, until)) {
      case Event::kLeave:
        return true;
      case Event::kInput: {
        char key = 0;
        if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q') {
          return true;  // also when the terminal has gone
        }
        break;
      }
      case Event::kNone:
        break;
    }
  } while (absl::Now() < until);
  return false;
}

bool WaitToLeave(const LeaveSwitch& leave, absl::Time until) {
  do {
    if (WaitForEvent(leave, -1, until) == Event::kLeave) {
      return true;
    }
  } while (absl::Now() < until);
  return false;
}

}  // namespace tessera::cli
