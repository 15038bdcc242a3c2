// Plain loops that the compiler turns into vectors: compiled for every table, the reference too.
// Without contraction all tables give the same bits.
#include "kernels/check.h"
#include "kernels/cpu_stream.h"
#include "kernels/ops.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

void RotateHalves(const float* __restrict cos, const float* __restrict sin, int64_t half,
                  float* __restrict first, float* __restrict second) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = first[i];
    const float b = second[i];
    first[i] = a * cos[i] - b * sin[i];
    second[i] = b * cos[i] + a * sin[i];
  }
}

void RotatePairs(const float* __restrict cos, const float* __restrict sin, int64_t half,
                 float* __restrict head) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[2 * i];
    const float b = head[2 * i + 1];
    head[2 * i] = a * cos[i] - b * sin[i];
    head[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

// rotate(cos, sin, half, head) for each head of each row.
template <typename Rotate>
void RotateRows(Stream& stream, const RopeTable& rope, const int32_t* positions, int64_t num_heads,
                int64_t head_stride, int64_t offset, Mat x, const Rotate& rotate) {
  const int64_t half = rope.rotary_dim / 2;
  KERNEL_CHECK(rope.rotary_dim % 2 == 0 && x.cols == num_heads * head_stride);
  KERNEL_CHECK(offset >= 0 && offset + rope.rotary_dim <= head_stride);
  ParallelRanges(stream, x.rows, num_heads * half, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      KERNEL_CHECK(positions[t] >= 0 && positions[t] < rope.max_positions);
      const float* cos = rope.cos + positions[t] * half;
      const float* sin = rope.sin + positions[t] * half;
      for (int64_t h = 0; h < num_heads; ++h) {
        rotate(cos, sin, half, x.row(t) + h * head_stride + offset);
      }
    }
  });
}

}  // namespace

void RopeHalf(Stream& stream, const RopeTable& rope, const int32_t* positions, int64_t num_heads,
              int64_t head_stride, int64_t offset, Mat x) {
  RotateRows(stream, rope, positions, num_heads, head_stride, offset, x,
             [](const float* cos, const float* sin, int64_t half, float* head) {
               RotateHalves(cos, sin, half, head, head + half);
             });
}

void RopeInterleaved(Stream& stream, const RopeTable& rope, const int32_t* positions,
                     int64_t num_heads, int64_t head_stride, int64_t offset, Mat x) {
  RotateRows(stream, rope, positions, num_heads, head_stride, offset, x, RotatePairs);
}

}  // namespace tessera::kernels::TESSERA_ISA
