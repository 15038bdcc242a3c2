// Byte counts as people write them.
#ifndef TESSERA_SERVICES_CONFIG_BYTE_SIZE_H_
#define TESSERA_SERVICES_CONFIG_BYTE_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera::config {

// An integer with an optional unit: B, KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers
// of 1000); a blank before the unit is fine. INVALID_ARGUMENT: anything else, negative numbers and
// numbers of 2^63 or more.
absl::StatusOr<int64_t> ParseByteSize(absl::string_view text);

// The shortest text that ParseByteSize reads back exactly: "20MiB", "1000B" → "1000".
std::string FormatByteSize(int64_t bytes);

}  // namespace tessera::config

#endif  // TESSERA_SERVICES_CONFIG_BYTE_SIZE_H_
