#include "services/cli/flags.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/config/byte_size.h"

namespace tessera::cli {
namespace {

constexpr size_t kNameColumn = 34;
constexpr size_t kHelpColumns = 66;

// CLI11 indents the lines of a description but does not break them.
std::string Wrapped(const std::string& text, size_t columns) {
  std::string out;
  size_t used = 0;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find(' ', begin);
    end = end == std::string::npos ? text.size() : end;
    const size_t length = end - begin;
    if (used > 0 && used + 1 + length > columns) {
      out += '\n';
      used = 0;
    } else if (used > 0) {
      out += ' ';
      ++used;
    }
    out.append(text, begin, length);
    used += length;
    begin = end + 1;
  }
  return out;
}

void SetOrThrow(const std::string& names, const Flags::Setter& set, const std::string& text) {
  const absl::Status status = set(text);
  if (!status.ok()) {
    throw CLI::ValidationError(names, std::string(status.message()));
  }
}

absl::Status SetInteger(const std::string& text, int64_t* target) {
  if (!absl::SimpleAtoi(text, target)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not an integer"));
  }
  return absl::OkStatus();
}

}  // namespace

struct Flags::State {
  explicit State(const std::string& description) : app(description) {}

  CLI::App app;
  std::string command;
  std::string group = "Options";
};

Flags::Flags(std::string command, std::string description, std::string exit_codes)
    : state_(std::make_unique<State>(Wrapped(description, 100))) {
  state_->app.name(absl::StrCat("tessera ", command));
  state_->app.set_help_flag("-h,--help", "Print this help and exit");
  state_->app.get_formatter()->column_width(kNameColumn);
  state_->app.get_formatter()->label("OPTIONS", "OPTIONS");
  state_->app.footer(exit_codes.empty() ? "Exit codes: 0 success, 1 failure, 2 wrong usage."
                                        : exit_codes);
  state_->command = std::move(command);
}

Flags::~Flags() = default;

void Flags::Group(std::string heading) { state_->group = std::move(heading); }

void Flags::Custom(const std::string& names, const std::string& value,
                   const std::string& default_text, const std::string& help, Setter set) {
  const std::string with_default =
      default_text.empty() ? help : absl::StrCat(help, " [default: ", default_text, "]");
  state_->app
      .add_option_function<std::string>(
          names,
          [names, set = std::move(set)](const std::string& text) { SetOrThrow(names, set, text); },
          Wrapped(with_default, kHelpColumns))
      ->option_text(value)
      ->group(state_->group);
}

void Flags::Repeated(const std::string& names, const std::string& value, const std::string& help,
                     Setter set) {
  state_->app
      .add_option_function<std::vector<std::string>>(
          names,
          [names, set = std::move(set)](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              SetOrThrow(names, set, text);
            }
          },
          Wrapped(absl::StrCat(help, " (may be repeated)"), kHelpColumns))
      ->option_text(value)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(state_->group);
}

void Flags::Text(const std::string& names, std::string* target, const std::string& help,
                 const std::string& value) {
  Custom(names, value, *target, help, [target](const std::string& text) {
    *target = text;
    return absl::OkStatus();
  });
}

void Flags::OneOf(const std::string& names, std::string* target, std::vector<std::string> allowed,
                  const std::string& help) {
  const std::string all = absl::StrJoin(allowed, ", ");
  Custom(names, "NAME", *target, absl::StrCat(help, ": ", all),
         [target, all, allowed = std::move(allowed)](const std::string& text) {
           if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
             return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not one of ", all));
           }
           *target = text;
           return absl::OkStatus();
         });
}

void Flags::Texts(const std::string& names, std::vector<std::string>* target,
                  const std::string& help, const std::string& value) {
  Repeated(names, value, help, [target](const std::string& text) {
    target->push_back(text);
    return absl::OkStatus();
  });
}

void Flags::Integer(const std::string& names, int64_t* target, const std::string& help) {
  Custom(names, "N", absl::StrCat(*target), help,
         [target](const std::string& text) { return SetInteger(text, target); });
}

void Flags::Integer(const std::string& names, std::optional<int64_t>* target,
                    const std::string& help) {
  Custom(names, "N", "", help,
         [target](const std::string& text) { return SetInteger(text, &target->emplace()); });
}

void Flags::Unsigned(const std::string& names, std::optional<uint64_t>* target,
                     const std::string& help) {
  Custom(names, "N", "", help, [target](const std::string& text) {
    if (!absl::SimpleAtoi(text, &target->emplace())) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is not an integer from 0 to 2^64 - 1"));
    }
    return absl::OkStatus();
  });
}

void Flags::Number(const std::string& names, std::optional<double>* target,
                   const std::string& help) {
  Custom(names, "X", "", help, [target](const std::string& text) {
    if (!absl::SimpleAtod(text, &target->emplace())) {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a number"));
    }
    return absl::OkStatus();
  });
}

void Flags::Switch(const std::string& name, bool* target, const std::string& help) {
  state_->app.add_flag(name, *target, Wrapped(help, kHelpColumns))->group(state_->group);
}

void Flags::Duration(const std::string& names, absl::Duration* target, const std::string& help) {
  Custom(names, "TIME", absl::FormatDuration(*target), help, [target](const std::string& text) {
    if (!absl::ParseDuration(text, target) || *target <= absl::ZeroDuration()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is not a positive time such as 90s, 10m or 1h"));
    }
    return absl::OkStatus();
  });
}

void Flags::Bytes(const std::string& names, int64_t* target, const std::string& help) {
  Custom(names, "BYTES", config::FormatByteSize(*target), help, [target](const std::string& text) {
    TESSERA_ASSIGN_OR_RETURN(*target, config::ParseByteSize(text));
    return absl::OkStatus();
  });
}

void Flags::Positional(const std::string& name, std::string* target, const std::string& help,
                       bool required) {
  state_->app.add_option(name, *target, Wrapped(help, kHelpColumns))
      ->option_text(" ")
      ->required(required);
}

std::optional<int> Flags::Parse(const std::vector<std::string>& arguments) {
  try {
    std::vector<std::string> reversed(arguments.rbegin(),
                                      arguments.rend());  // CLI11 takes them from the back
    state_->app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    std::fputs(state_->app.help().c_str(), stdout);
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "tessera %s: %s\n`tessera %s --help` lists all options.\n",
                 state_->command.c_str(), error.what(), state_->command.c_str());
    return kExitUsage;
  }
  return std::nullopt;
}

std::string ReadableBytes(int64_t bytes) {
  constexpr int64_t kKibi = 1024;
  if (bytes < kKibi) {
    return absl::StrCat(bytes, " B");
  }
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < static_cast<double>(kKibi)) {
      break;
    }
    value /= static_cast<double>(kKibi);
    unit = next;
  }
  return absl::StrFormat("%.1f %s", value, unit);
}

}  // namespace tessera::cli
