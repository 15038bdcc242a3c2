#include "services/base/log.h"

#include <atomic>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tessera::log {
namespace {

std::atomic<Level> g_level{Level::kInfo};
std::atomic<Format> g_format{Format::kText};

std::string& Component() {
  static auto* component = new std::string;  // never destroyed: lines may be written during exit
  return *component;
}

const char* Name(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "?";
}

std::string JsonEscaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", byte);
    } else {
      out += c;
    }
  }
  return out;
}

const char* BaseName(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

}  // namespace

void SetLevel(Level level) { g_level.store(level, std::memory_order_relaxed); }
void SetFormat(Format format) { g_format.store(format, std::memory_order_relaxed); }
void SetComponent(std::string name) { Component() = std::move(name); }
bool Enabled(Level level) { return level >= g_level.load(std::memory_order_relaxed); }

absl::StatusOr<Level> ParseLevel(std::string_view text) {
  for (const Level level : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (text == Name(level)) {
      return level;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("log level \"",
                                                 absl::string_view(text.data(), text.size()),
                                                 "\" is not one of debug, info, warning, error"));
}

Message::Message(Level level, const char* file, int line)
    : level_(level), file_(file), line_(line) {}

Message::~Message() {
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  std::string out;
  if (g_format.load(std::memory_order_relaxed) == Format::kJson) {
    out = absl::StrCat("{\"time\":\"", time, "\",\"level\":\"", Name(level_), "\",\"component\":\"",
                       JsonEscaped(Component()), "\",\"source\":\"", BaseName(file_), ":", line_,
                       "\",\"message\":\"", JsonEscaped(text_.str()), "\"");
    for (const auto& [key, value] : fields_) {
      absl::StrAppend(&out, ",\"", JsonEscaped(key), "\":\"", JsonEscaped(value), "\"");
    }
    out += "}\n";
  } else {
    out = absl::StrCat(time, " ", Name(level_), " ", Component(), Component().empty() ? "" : ": ",
                       text_.str());
    for (const auto& [key, value] : fields_) {
      absl::StrAppend(&out, " ", key, "=", value);
    }
    out += '\n';
  }
  std::fwrite(out.data(), 1, out.size(), stderr);  // one call, so that lines of threads do not mix
}

}  // namespace tessera::log
