#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/config/byte_size.h"
#include "services/config/config.h"
#include "services/config/rules.h"
#include "services/config/schema.h"
#include "services/config/topology.h"

namespace tessera::config {
namespace {

// Insertions, deletions and replacements that turn a into b.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// Reads one YAML mapping into one settings struct: the visitor's calls take the values, Finish()
// looks for keys that nobody asked for.
class MappingReader {
 public:
  // prefix: "" or "gateway."; node is a mapping.
  MappingReader(const YAML::Node& node, absl::string_view file, std::string prefix)
      : node_(node), file_(file), prefix_(std::move(prefix)) {}

  template <typename Settings, typename Visit>
  void Section(absl::string_view key, absl::string_view, Settings& settings, Visit visit) {
    const YAML::Node value = Take(key);
    if (!value.IsDefined() || value.IsNull() || !status_.ok()) return;
    if (!value.IsMap()) return Fail(value, key, "expected a mapping of keys");
    MappingReader section(value, file_, absl::StrCat(prefix_, key, "."));
    visit(section, settings);
    section.Finish();
    if (!section.status_.ok()) status_ = section.status_;
  }
  void Text(absl::string_view key, std::string& value, absl::string_view) {
    std::string text;
    if (Scalar(key, "a text", /*null_is_empty=*/true, text)) value = text;
  }
  void Address(absl::string_view key, std::string& value, AddressUse use, absl::string_view) {
    std::string text;
    if (Scalar(key, "host:port", /*null_is_empty=*/true, text) &&
        Keep(key, CheckAddress(text, use)))
      value = text;
  }
  void Choice(absl::string_view key, std::string& value,
              std::initializer_list<absl::string_view> allowed, absl::string_view) {
    std::string text;
    if (Scalar(key, "a text", /*null_is_empty=*/false, text) &&
        Keep(key, CheckChoice(text, allowed)))
      value = text;
  }
  void Bool(absl::string_view key, bool& value, absl::string_view) {
    std::string text;
    if (!Scalar(key, "true or false", /*null_is_empty=*/false, text)) return;
    if (text != "true" && text != "false") {
      return Fail(node_[std::string(key)], key,
                  absl::StrCat("\"", text, "\" is not true or false"));
    }
    value = text == "true";
  }
  void Int(absl::string_view key, int64_t& value, int64_t min, int64_t max, absl::string_view) {
    std::string text;
    if (!Scalar(key, "an integer", /*null_is_empty=*/false, text)) return;
    int64_t number = 0;
    if (!absl::SimpleAtoi(text, &number)) {
      return Fail(node_[std::string(key)], key,
                  absl::StrCat("\"", text, "\" is not an integer in [", min, ", ", max, "]"));
    }
    if (Keep(key, CheckRange(number, min, max))) value = number;
  }
  void Bytes(absl::string_view key, int64_t& value, int64_t min, int64_t max, absl::string_view) {
    std::string text;
    if (!Scalar(key, "a byte size", /*null_is_empty=*/false, text)) return;
    const absl::StatusOr<int64_t> bytes = ParseByteSize(text);
    if (Keep(key, bytes.status()) && Keep(key, CheckRange(*bytes, min, max))) value = *bytes;
  }
  void Milliseconds(absl::string_view key, absl::Duration& value, int64_t min, int64_t max,
                    absl::string_view comment) {
    int64_t milliseconds = absl::ToInt64Milliseconds(value);
    Int(key, milliseconds, min, max, comment);
    value = absl::Milliseconds(milliseconds);
  }

  // A text of ParseTopology's, or a list of pools.
  void Topology(absl::string_view key, std::vector<PoolSettings>& value, absl::string_view) {
    const YAML::Node node = Take(key);
    if (!node.IsDefined() || node.IsNull() || !status_.ok()) return;
    if (node.IsScalar()) {
      if (node.Scalar().empty()) return;
      absl::StatusOr<std::vector<PoolSettings>> pools = ParseTopology(node.Scalar());
      if (Keep(key, pools.status())) value = *std::move(pools);
      return;
    }
    if (!node.IsSequence())
      return Fail(node, key, "expected a text such as 2x2 or a list of pools");
    std::vector<PoolSettings> pools;
    for (const YAML::Node& entry : node) {
      const std::string name = absl::StrCat(key, "[", pools.size(), "]");
      if (!entry.IsMap()) return Fail(entry, name, "expected a mapping of keys");
      MappingReader reader(entry, file_, absl::StrCat(prefix_, name, "."));
      VisitPool(reader, pools.emplace_back());
      reader.Finish();
      if (!reader.status_.ok()) {
        status_ = reader.status_;
        return;
      }
    }
    if (Keep(key, CheckTopology(pools))) value = std::move(pools);
  }

  // Unknown and repeated keys.
  void Finish() {
    std::set<std::string> seen;
    for (const auto& entry : node_) {
      if (!status_.ok()) return;
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        const auto nearest =
            std::min_element(known_.begin(), known_.end(), [&](const auto& a, const auto& b) {
              return EditDistance(key, a) < EditDistance(key, b);
            });
        return Fail(entry.first, key,
                    absl::StrCat("unknown key; did you mean ", prefix_, *nearest, "?"));
      }
      if (!seen.insert(key).second) return Fail(entry.first, key, "the key is given twice");
    }
  }
  const absl::Status& status() const { return status_; }

 private:
  YAML::Node Take(absl::string_view key) {
    known_.emplace_back(key);
    return node_[std::string(key)];
  }
  // False: the key is absent, or an error was kept.
  bool Scalar(absl::string_view key, absl::string_view expected, bool null_is_empty,
              std::string& text) {
    const YAML::Node value = Take(key);
    if (!value.IsDefined() || !status_.ok()) return false;
    if (value.IsNull() && null_is_empty) return true;
    if (!value.IsScalar()) {
      Fail(value, key, absl::StrCat("expected ", expected));
      return false;
    }
    text = value.Scalar();
    return true;
  }
  bool Keep(absl::string_view key, const absl::Status& status) {
    if (!status.ok()) Fail(node_[std::string(key)], key, status.message());
    return status_.ok();
  }
  void Fail(const YAML::Node& node, absl::string_view key, absl::string_view message) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrCat(file_, ":", node.Mark().line + 1, ": ", prefix_, key, ": ", message));
  }

  const YAML::Node node_;  // const: operator[] of a mutable node would insert
  absl::string_view file_;
  std::string prefix_;
  std::vector<std::string> known_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<ClusterConfig> ParseClusterConfig(std::string_view yaml, std::string_view file) {
  const absl::string_view file_name(file.data(), file.size());
  ClusterConfig config;
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (root.IsDefined() && !root.IsNull()) {
      if (!root.IsMap()) {
        return absl::InvalidArgumentError(
            absl::StrCat(file_name, ":1: expected a mapping of keys"));
      }
      MappingReader reader(root, file_name, "");
      VisitCluster(reader, config);
      reader.Finish();
      config.workers_given = root["workers"].IsDefined();
      TESSERA_RETURN_IF_ERROR(reader.status());
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(file_name, ":", error.mark.line + 1, ": not valid YAML: ", error.msg));
  }
  if (const absl::Status status = Validate(config); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file_name, ": ", status.message()));
  }
  return config;
}

absl::StatusOr<ClusterConfig> ReadClusterConfig(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // A folder opens, but every read from it fails: without this check it would pass as an empty
  // file.
  std::error_code ignored;
  if (!file || std::filesystem::is_directory(path, ignored))
    return absl::NotFoundError(absl::StrCat("cannot open the configuration file ", path));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return ParseClusterConfig(text, path);
}

}  // namespace tessera::config
