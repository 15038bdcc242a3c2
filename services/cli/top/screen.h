// The terminal as a screen that is redrawn, and the wish to leave.
#ifndef TESSERA_SERVICES_CLI_TOP_SCREEN_H_
#define TESSERA_SERVICES_CLI_TOP_SCREEN_H_

#include <termios.h>

#include <cstddef>
#include <string>

#include "absl/time/time.h"

namespace tessera::cli {

// Set once from any thread, for example by a signal; never unset.
class LeaveSwitch {
 public:
  LeaveSwitch();
  ~LeaveSwitch();
  LeaveSwitch(const LeaveSwitch&) = delete;
  LeaveSwitch& operator=(const LeaveSwitch&) = delete;

  void Set();
  int poll_fd() const { return event_; }  // readable once it is set

 private:
  int event_;
};

struct ScreenSize {
  size_t columns = 80;
  size_t rows = 24;
};

// Of standard output's terminal; the usual one if it has none.
ScreenSize TerminalSize();

// While it lives, standard output shows a screen of its own without a cursor, and keys are read
// one by one without an echo; afterwards all is as it was. Standard output must be a terminal;
// standard input may be anything. One thread.
class Screen {
 public:
  explicit Screen(const LeaveSwitch& leave);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // lines: no wider and no more than TerminalSize() says. False: nobody sees it any more.
  bool Show(const std::string& lines);
  // Waits; true: q was pressed or the switch is set.
  bool WaitToLeave(absl::Time until);

 private:
  const LeaveSwitch& leave_;
  bool reads_keys_ = false;
  termios before_ = {};
};

// As Screen::WaitToLeave, without keys.
bool WaitToLeave(const LeaveSwitch& leave, absl::Time until);

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_TOP_SCREEN_H_
