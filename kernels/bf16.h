// Scalar conversions between float32, bfloat16 and half, by bits. Internal linkage: included by
// files that are built for different instruction sets.
#ifndef TESSERA_KERNELS_BF16_H_
#define TESSERA_KERNELS_BF16_H_

#include <cstdint>

namespace tessera::kernels {
namespace {  // NOLINT(google-build-namespaces): see above

inline uint32_t BitsOf(float value) { return __builtin_bit_cast(uint32_t, value); }
inline float FloatOf(uint32_t bits) { return __builtin_bit_cast(float, bits); }

inline float Bf16ToFloat(uint16_t value) { return FloatOf(static_cast<uint32_t>(value) << 16); }

// Nearest even; a NaN stays a (quiet) NaN.
inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float Bf16Rounded(float value) { return Bf16ToFloat(FloatToBf16(value)); }

inline float HalfToFloat(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000u) << 16;
  const uint32_t magnitude = value & 0x7fffu;
  if (magnitude >= 0x7c00u) return FloatOf(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x0400u) return FloatOf(sign | ((magnitude << 13) + (112u << 23)));
  const float tiny = static_cast<float>(magnitude) * 5.9604644775390625e-08f;  // 2^-24
  return FloatOf(sign | BitsOf(tiny));
}

}  // namespace
}  // namespace tessera::kernels

#endif  // TESSERA_KERNELS_BF16_H_
