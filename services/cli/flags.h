// Command-line flags of one subcommand: declared with their targets, parsed once, listed by --help
// with the defaults that the targets hold.
#ifndef TESSERA_SERVICES_CLI_FLAGS_H_
#define TESSERA_SERVICES_CLI_FLAGS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tessera::cli {

// Not thread safe. Targets outlive the flags. Names are "--listen" or "-n,--max-tokens".
class Flags {
 public:
  // command: "ask"; description: what it does, printed on top of --help; exit_codes: the last line
  // of --help, empty for the usual ones.
  Flags(std::string command, std::string description, std::string exit_codes = "");
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  // The flags that are declared from here on stand under this heading.
  void Group(std::string heading);

  void Text(const std::string& names, std::string* target, const std::string& help,
            const std::string& value = "TEXT");
  void OneOf(const std::string& names, std::string* target, std::vector<std::string> allowed,
             const std::string& help);
  void Texts(const std::string& names, std::vector<std::string>* target, const std::string& help,
             const std::string& value = "TEXT");  // may be given several times
  void Integer(const std::string& names, int64_t* target, const std::string& help);
  void Integer(const std::string& names, std::optional<int64_t>* target, const std::string& help);
  void Unsigned(const std::string& names, std::optional<uint64_t>* target, const std::string& help);
  void Number(const std::string& names, std::optional<double>* target, const std::string& help);
  void Switch(const std::string& name, bool* target, const std::string& help);
  void Duration(const std::string& names, absl::Duration* target,
                const std::string& help);  // "90s", "10m"
  void Bytes(const std::string& names, int64_t* target,
             const std::string& help);  // "40GiB", "1048576"
  // A flag of any kind: `set` judges the text; its error is a usage error. Repeated ones may be
  // given several times.
  using Setter = std::function<absl::Status(const std::string&)>;
  void Custom(const std::string& names, const std::string& value, const std::string& default_text,
              const std::string& help, Setter set);
  void Repeated(const std::string& names, const std::string& value, const std::string& help,
                Setter set);
  void Positional(const std::string& name, std::string* target, const std::string& help,
                  bool required);

  // nullopt: go on. Else the exit code to end with: 0 after --help, 2 after an error, which has
  // been printed to stderr.
  std::optional<int> Parse(const std::vector<std::string>& arguments);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string ReadableBytes(int64_t bytes);  // "40.0 GiB"

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_FLAGS_H_
