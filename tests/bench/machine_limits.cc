#include "tests/bench/machine_limits.h"

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace tessera::bench {
namespace {

constexpr int kChains = 12;
constexpr int64_t kRounds = 4'000'000;

double Seconds(const auto& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Each returns the floating point operations that it did. The empty asm keeps the chains alive.
__attribute__((target("avx2,fma"))) double FmaAvx2() {
  __m256 sums[kChains];
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm256_set1_ps(1.0f);
  const __m256 a = _mm256_set1_ps(1.0001f);
  const __m256 b = _mm256_set1_ps(0.0001f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sums[c] = _mm256_fmadd_ps(sums[c], a, b);
      asm volatile("" : "+x"(sums[c]));
    }
  }
  return 16.0 * kChains * kRounds;
}

__attribute__((target("avx512f"))) double FmaAvx512() {
  __m512 sums[kChains];
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(1.0f);
  const __m512 a = _mm512_set1_ps(1.0001f);
  const __m512 b = _mm512_set1_ps(0.0001f);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sums[c] = _mm512_fmadd_ps(sums[c], a, b);
      asm volatile("" : "+v"(sums[c]));
    }
  }
  return 32.0 * kChains * kRounds;
}

__attribute__((target("avx512f,avx512bf16"))) double PairsAvx512() {
  __m512 sums[kChains];
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(1.0f);
  const __m512i ones = _mm512_set1_epi32(0x3f803f80);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sums[c] = _mm512_dpbf16_ps(sums[c], (__m512bh)ones, (__m512bh)ones);
      asm volatile("" : "+v"(sums[c]));
    }
  }
  return 64.0 * kChains * kRounds;
}

double OperationsPerSecond(kernels::ThreadPool& pool, double (*body)()) {
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<double> operations(static_cast<size_t>(pool.num_threads()));
    const double seconds = Seconds([&] {
      pool.RunOnAll([&](int worker) { operations[static_cast<size_t>(worker)] = body(); });
    });
    double total = 0;
    for (const double part : operations) total += part;
    best = std::max(best, total / seconds);
  }
  return best;
}

__attribute__((target("avx2"))) uint64_t ReadAll(const char* data, int64_t bytes) {
  __m256i sums[4] = {};
  for (int64_t i = 0; i + 256 <= bytes; i += 256) {
    _mm_prefetch(data + i + 2048, _MM_HINT_T0);
    _mm_prefetch(data + i + 2048 + 64, _MM_HINT_T0);
    _mm_prefetch(data + i + 2048 + 128, _MM_HINT_T0);
    _mm_prefetch(data + i + 2048 + 192, _MM_HINT_T0);
    for (int j = 0; j < 8; ++j) {
      const auto* p = reinterpret_cast<const __m256i*>(data + i + j * 32);
      sums[j % 4] = _mm256_xor_si256(sums[j % 4], _mm256_load_si256(p));
    }
  }
  const __m256i all =
      _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0));
}

double ReadBytesPerSecond(kernels::ThreadPool& pool) {
  constexpr int64_t kBytes = int64_t{512} << 20;
  std::unique_ptr<char, decltype(&std::free)> data(
      static_cast<char*>(std::aligned_alloc(4096, kBytes)), &std::free);
  std::memset(data.get(), 1, kBytes);
  double best = 0;
  for (int round = 0; round < 4; ++round) {
    const double seconds = Seconds([&] {
      pool.RunOnAll([&](int worker) {
        const int64_t part = kBytes / pool.num_threads() / 4096 * 4096;
        volatile uint64_t sink = ReadAll(data.get() + worker * part, part);
        (void)sink;
      });
    });
    best = std::max(best, kBytes / seconds);
  }
  return best;
}

}  // namespace

MachineLimits MeasureMachineLimits(kernels::ThreadPool& pool) {
  MachineLimits limits;
  const bool wide = __builtin_cpu_supports("avx512f");
  limits.f32_flops = OperationsPerSecond(pool, wide ? &FmaAvx512 : &FmaAvx2);
  if (__builtin_cpu_supports("avx512bf16")) {
    limits.bf16_flops = OperationsPerSecond(pool, &PairsAvx512);
  }
  limits.read_bytes = ReadBytesPerSecond(pool);
  return limits;
}

}  // namespace tessera::bench
