// Lines of an interactive session: with editing and history on a terminal, plain from a pipe or a
// file.
#ifndef TESSERA_SERVICES_CLI_LINE_READER_H_
#define TESSERA_SERVICES_CLI_LINE_READER_H_

#include <memory>
#include <optional>
#include <string>

namespace tessera::cli {

// Reads standard input. One at a time in a process; not thread safe but for Interrupt.
class LineReader {
 public:
  LineReader();
  ~LineReader();

  bool is_terminal() const;
  // The next line without its line break; nullopt at the end of the input or after an interrupt
  // that ends the session. The prompt is shown on a terminal only.
  std::optional<std::string> Read(const std::string& prompt);
  // From any thread: a Read in progress gives up what was typed; on an empty line, or from a pipe,
  // it ends the input.
  void Interrupt();
  // From any thread: ends the input, also for Reads to come.
  void End();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_LINE_READER_H_
