#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/config/byte_size.h"
#include "services/config/config.h"
#include "services/config/schema.h"
#include "services/config/topology.h"

namespace tessera::config {
namespace {

// Writes "key: value  # comment [range]" lines.
class ExampleWriter {
 public:
  template <typename Settings, typename Visit>
  void Section(absl::string_view key, absl::string_view comment, const Settings& settings,
               Visit visit) {
    if (indent_.empty()) {
      absl::StrAppend(&text_, "\n# ", comment, "\n", key, ":\n");
    } else {
      absl::StrAppend(&text_, indent_, key, ":  # ", comment, "\n");
    }
    indent_ += "  ";
    visit(*this, settings);
    indent_.resize(indent_.size() - 2);
  }
  void Topology(absl::string_view key, const std::vector<PoolSettings>& value,
                absl::string_view comment) {
    Line(key, Quoted(FormatTopology(value)), comment);
  }
  void Text(absl::string_view key, const std::string& value, absl::string_view comment) {
    Line(key, Quoted(value), comment);
  }
  void Bool(absl::string_view key, bool value, absl::string_view comment) {
    Line(key, value ? "true" : "false", comment);
  }
  void Address(absl::string_view key, const std::string& value, AddressUse,
               absl::string_view comment) {
    Line(key, Quoted(value), comment);
  }
  void Choice(absl::string_view key, const std::string& value,
              std::initializer_list<absl::string_view> allowed, absl::string_view comment) {
    Line(key, value, absl::StrCat(absl::StrJoin(allowed, ", "), ": ", comment));
  }
  void Int(absl::string_view key, int64_t value, int64_t min, int64_t max,
           absl::string_view comment) {
    Line(key, absl::StrCat(value), absl::StrCat(comment, " [", min, ", ", max, "]"));
  }
  void Bytes(absl::string_view key, int64_t value, int64_t min, int64_t max,
             absl::string_view comment) {
    Line(key, FormatByteSize(value),
         absl::StrCat(comment, " [", FormatByteSize(min), ", ", FormatByteSize(max), "]"));
  }
  void Milliseconds(absl::string_view key, absl::Duration value, int64_t min, int64_t max,
                    absl::string_view comment) {
    Int(key, absl::ToInt64Milliseconds(value), min, max, comment);
  }
  std::string& text() { return text_; }

 private:
  static std::string Quoted(const std::string& value) { return absl::StrCat("\"", value, "\""); }
  void Line(absl::string_view key, absl::string_view value, absl::string_view comment) {
    absl::StrAppend(&text_, indent_, key, ": ", value, "  # ", comment, "\n");
  }

  std::string indent_;
  std::string text_;
};

}  // namespace

std::string ExampleYaml() {
  ExampleWriter writer;
  writer.text() =
      "# Every key of Tessera's configuration with its default. A file needs only what differs; an "
      "empty one is fine.\n"
      "# Byte sizes take a unit (20MiB, 1GiB); keys that end in _ms are whole milliseconds.\n";
  const ClusterConfig defaults;
  VisitCluster(writer, defaults);
  return std::move(writer.text());
}

}  // namespace tessera::config
