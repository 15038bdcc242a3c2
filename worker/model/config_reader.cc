#include "worker/model/config_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace tessera::model {
namespace {

using nlohmann::json;

// A short printable form of a value that was refused.
std::string Show(const json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > 60) text = absl::StrCat(text.substr(0, 57), "...");
  return text;
}

bool AsInt(const json& value, int64_t* number) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return false;
  *number = value.get<int64_t>();
  return true;
}

}  // namespace

ConfigReader::ConfigReader(const json& object, std::string section)
    : object_(object), section_(std::move(section)) {}

const json* ConfigReader::Find(absl::string_view key) const {
  const auto entry = object_.find(std::string(key));
  return entry == object_.end() ? nullptr : &*entry;
}

void ConfigReader::Fail(absl::string_view key, absl::string_view found, absl::string_view bound) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(absl::StrCat("config.json: ", section_,
                                                    section_.empty() ? "" : ".", key, " is ", found,
                                                    "; must be ", bound));
}

void ConfigReader::Unsupported(absl::string_view key, absl::string_view found,
                               absl::string_view only) {
  if (!status_.ok()) return;
  status_ =
      absl::UnimplementedError(absl::StrCat("config.json: ", section_, section_.empty() ? "" : ".",
                                            key, " is ", found, "; supported: ", only));
}

void ConfigReader::Int(absl::string_view key, int64_t min, int64_t max, int64_t* value) {
  const json* found = Find(key);
  if (found == nullptr) return;
  int64_t number = 0;
  if (!AsInt(*found, &number) || number < min || number > max) {
    return Fail(key, Show(*found), absl::StrCat("an integer in ", min, "..", max));
  }
  *value = number;
}

void ConfigReader::IntOrNull(absl::string_view key, int64_t min, int64_t max,
                             std::optional<int64_t>* value) {
  const json* found = Find(key);
  if (found == nullptr) return;
  if (found->is_null()) {
    value->reset();
    return;
  }
  int64_t number = 0;
  if (!AsInt(*found, &number) || number < min || number > max) {
    return Fail(key, Show(*found), absl::StrCat("null or an integer in ", min, "..", max));
  }
  *value = number;
}

void ConfigReader::IntNullIsAbsent(absl::string_view key, int64_t min, int64_t max,
                                   int64_t* value) {
  const json* found = Find(key);
  if (found != nullptr && !found->is_null()) Int(key, min, max, value);
}

void ConfigReader::Double(absl::string_view key, double min, double max, double* value) {
  const json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_number() || !(found->get<double>() >= min && found->get<double>() <= max)) {
    return Fail(key, Show(*found), absl::StrCat("a number in ", min, "..", max));
  }
  *value = found->get<double>();
}

void ConfigReader::Bool(absl::string_view key, bool* value) {
  const json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_boolean()) return Fail(key, Show(*found), "true or false");
  *value = found->get<bool>();
}

void ConfigReader::Text(absl::string_view key, std::string* value) {
  const json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_string()) return Fail(key, Show(*found), "a text");
  *value = found->get<std::string>();
}

void ConfigReader::OnlyText(absl::string_view key, absl::string_view only) {
  const json* found = Find(key);
  if (found == nullptr || (found->is_string() && found->get_ref<const std::string&>() == only))
    return;
  Unsupported(key, Show(*found), only);
}

void ConfigReader::OnlyInt(absl::string_view key, int64_t only) {
  const json* found = Find(key);
  int64_t number = 0;
  if (found == nullptr || (AsInt(*found, &number) && number == only)) return;
  Unsupported(key, Show(*found), absl::StrCat(only));
}

void ConfigReader::OnlyBool(absl::string_view key, bool only) {
  const json* found = Find(key);
  if (found == nullptr || (found->is_boolean() && found->get<bool>() == only)) return;
  Unsupported(key, Show(*found), only ? "true" : "false");
}

void ConfigReader::Require(bool holds, absl::string_view key, int64_t found,
                           absl::string_view bound) {
  if (!holds) Fail(key, absl::StrCat(found), bound);
}

}  // namespace tessera::model
