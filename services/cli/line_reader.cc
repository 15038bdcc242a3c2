#include "services/cli/line_reader.h"

#include <poll.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "services/base/check.h"

namespace tessera::cli {

struct LineReader::State {
  bool is_terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  int interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::string buffer;  // what came after the last line, of a pipe
  bool at_end = false;
  std::atomic<bool> ended = false;  // by End

  bool TakeInterrupt() {
    uint64_t count = 0;
    return read(interrupt_fd, &count, sizeof(count)) > 0;
  }
  // Waits; true if standard input has something.
  bool WaitForInput() {
    pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_fd, POLLIN, 0}};
    return poll(watched, 2, -1) > 0 && watched[0].revents != 0 && watched[1].revents == 0;
  }
  std::optional<std::string> ReadPlain();
  std::optional<std::string> ReadEdited(const std::string& prompt);
};

namespace {

// readline calls back without a context.
struct Edited {
  bool done = false;
  std::optional<std::string> line;
};
Edited g_edited;

void OnLine(char* text) {
  g_edited.done = true;
  if (text != nullptr) {
    g_edited.line = text;
    std::free(text);
  }
  rl_callback_handler_remove();
}

}  // namespace

std::optional<std::string> LineReader::State::ReadPlain() {
  while (true) {
    if (const size_t end = buffer.find('\n'); end != std::string::npos) {
      std::string line = buffer.substr(0, end);
      buffer.erase(0, end + 1);
      return line;
    }
    if (at_end) {
      if (buffer.empty()) {
        return std::nullopt;
      }
      return std::exchange(buffer, "");
    }
    if (!WaitForInput()) {
      if (TakeInterrupt()) {
        return std::nullopt;
      }
      continue;
    }
    char chunk[4096];
    const ssize_t got = read(STDIN_FILENO, chunk, sizeof(chunk));
    if (got > 0) {
      buffer.append(chunk, static_cast<size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      at_end = true;
    }
  }
}

std::optional<std::string> LineReader::State::ReadEdited(const std::string& prompt) {
  g_edited = Edited();
  rl_catch_signals = 0;
  rl_callback_handler_install(prompt.c_str(), OnLine);
  while (!g_edited.done) {
    if (WaitForInput()) {
      rl_callback_read_char();
    } else if (TakeInterrupt()) {
      if (rl_end == 0 || ended) {
        rl_callback_handler_remove();
        std::fputc('\n', stdout);
        return std::nullopt;
      }
      rl_replace_line("", 0);
      rl_crlf();
      rl_on_new_line();
      rl_redisplay();
    }
  }
  if (g_edited.line.has_value() && !g_edited.line->empty()) {
    add_history(g_edited.line->c_str());
  }
  return g_edited.line;
}

LineReader::LineReader() : state_(std::make_unique<State>()) {
  TESSERA_CHECK(state_->interrupt_fd >= 0) << "no descriptor left";
}

LineReader::~LineReader() { close(state_->interrupt_fd); }

bool LineReader::is_terminal() const { return state_->is_terminal; }

std::optional<std::string> LineReader::Read(const std::string& prompt) {
  if (state_->ended) {
    return std::nullopt;
  }
  return state_->is_terminal ? state_->ReadEdited(prompt) : state_->ReadPlain();
}

void LineReader::Interrupt() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(state_->interrupt_fd, &one, sizeof(one));
}

void LineReader::End() {
  state_->ended = true;
  Interrupt();
}

}  // namespace tessera::cli
