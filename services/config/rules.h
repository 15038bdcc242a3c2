// Range rules of single values. Messages name no key: the caller puts it before.
#ifndef TESSERA_SERVICES_CONFIG_RULES_H_
#define TESSERA_SERVICES_CONFIG_RULES_H_

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/config/schema.h"

namespace tessera::config {

absl::Status CheckRange(int64_t value, int64_t min, int64_t max);
absl::Status CheckChoice(absl::string_view value, std::initializer_list<absl::string_view> allowed);
absl::Status CheckAddress(absl::string_view value, AddressUse use);

}  // namespace tessera::config

#endif  // TESSERA_SERVICES_CONFIG_RULES_H_
