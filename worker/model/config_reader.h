// Reads typed keys of one JSON object of a config.json and keeps the first complaint, so that the
// caller reads like a list of keys.
#ifndef TESSERA_WORKER_MODEL_CONFIG_READER_H_
#define TESSERA_WORKER_MODEL_CONFIG_READER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace tessera::model {

class ConfigReader {
 public:
  // object outlives the reader. section: "language_config", …; empty for the top level.
  ConfigReader(const nlohmann::json& object, std::string section);

  // Each leaves *value unchanged when the key is absent. A value of another kind, or outside [min,
  // max], is kept as the first error.
  void Int(absl::string_view key, int64_t min, int64_t max, int64_t* value);
  void IntOrNull(absl::string_view key, int64_t min, int64_t max, std::optional<int64_t>* value);
  // null counts as absent.
  void IntNullIsAbsent(absl::string_view key, int64_t min, int64_t max, int64_t* value);
  void Double(absl::string_view key, double min, double max, double* value);
  void Bool(absl::string_view key, bool* value);
  void Text(absl::string_view key, std::string* value);

  // As Text, and UNIMPLEMENTED if the key has another value than `only`; absent is fine.
  void OnlyText(absl::string_view key, absl::string_view only);
  void OnlyInt(absl::string_view key, int64_t only);
  void OnlyBool(absl::string_view key, bool only);

  // Adds a complaint about a combination of keys.
  void Require(bool holds, absl::string_view key, int64_t found, absl::string_view bound);

  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(absl::string_view key) const;  // null: absent
  void Fail(absl::string_view key, absl::string_view found, absl::string_view bound);
  void Unsupported(absl::string_view key, absl::string_view found, absl::string_view only);

  const nlohmann::json& object_;
  std::string section_;
  absl::Status status_;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_CONFIG_READER_H_
