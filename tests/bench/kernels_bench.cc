// The ops at VL2-Tiny's shapes, beside what the machine can do at best (measured first).
//   gemm/<dtype>/<rows>x<k>x<n>/<table>       one product; rows 1 is decoding (memory bound)
//   moe/<rows per expert>/<experts>/<table>   gate_up of several experts in one call
//   attention/...  tower/...  rows/...
// Counters: GFLOP/s and of_peak where arithmetic limits, GB/s and of_read where memory does.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/bench/machine_limits.h"

namespace tessera::bench {
namespace {

using namespace tessera::kernels;  // NOLINT(google-build-using-namespace): the subject of the file

struct Machine {
  explicit Machine(int threads) : pool(threads), stream(MakeCpuStream(pool)) {
    limits = MeasureMachineLimits(pool);
  }
  ThreadPool pool;
  std::unique_ptr<Stream> stream;
  MachineLimits limits;
};

Machine* g_machine = nullptr;

std::vector<float> RandomFloats(int64_t count) {
  std::minstd_rand random(7);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return values;
}

// A weight with random packed bytes of sane size.
struct Weight {
  Weight(const KernelTable& table, DType dtype, int64_t n, int64_t k) {
    const int64_t bytes = table.packed_weight_bytes(dtype, n, k);
    data.reset(static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
    view = {data.get(), dtype, n, k};
    const std::vector<float> row = RandomFloats(k * 16);
    for (int64_t i = 0; i < n; i += 16) {
      table.pack_weight(row.data(), DType::kF32, k, i, std::min<int64_t>(16, n - i), view,
                        data.get());
    }
  }
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> data;
  PackedWeight view;
};

Mat View(std::vector<float>& values, int64_t cols) {
  return {values.data(), static_cast<int64_t>(values.size()) / cols, cols, cols};
}

double PeakFlops(const KernelTable& table, Compute compute) {
  const MachineLimits& limits = g_machine->limits;
  return compute == Compute::kBF16 && std::string(table.name) == "avx512bf16" ? limits.bf16_flops
                                                                              : limits.f32_flops;
}

void CountArithmetic(benchmark::State& state, double flops, double peak) {
  const double done = flops * static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = benchmark::Counter(done / 1e9, benchmark::Counter::kIsRate);
  state.counters["of_peak"] = benchmark::Counter(done / peak, benchmark::Counter::kIsRate);
}

void CountBytes(benchmark::State& state, double bytes) {
  const double done = bytes * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(done / 1e9, benchmark::Counter::kIsRate);
  state.counters["of_read"] =
      benchmark::Counter(done / g_machine->limits.read_bytes, benchmark::Counter::kIsRate);
}

// `experts` weights [n, k], `rows` rows each. Several copies in turn keep small ones out of cache.
void BenchGemm(benchmark::State& state, const KernelTable* table, DType dtype, Compute compute,
               int64_t experts, int64_t rows, int64_t k, int64_t n) {
  const int64_t bytes = experts * table->packed_weight_bytes(dtype, n, k);
  const int64_t copies = rows <= 4 ? std::max<int64_t>(1, (int64_t{192} << 20) / bytes) : 1;
  std::vector<Weight> weights;
  for (int64_t i = 0; i < copies * experts; ++i) weights.emplace_back(*table, dtype, n, k);
  std::vector<float> x = RandomFloats(rows * k);
  std::vector<float> y(static_cast<size_t>(experts * rows * n));
  int64_t copy = 0;
  for (auto _ : state) {
    std::vector<GemmItem> items;
    for (int64_t e = 0; e < experts; ++e) {
      items.push_back({.x = View(x, k),
                       .weight = &weights[static_cast<size_t>(copy * experts + e)].view,
                       .y = View(y, n).row_range(e * rows, rows)});
    }
    table->gemm(*g_machine->stream, compute, items.data(), experts);
    copy = (copy + 1) % copies;
  }
  CountArithmetic(state, 2.0 * experts * rows * k * n, PeakFlops(*table, compute));
  CountBytes(state, static_cast<double>(bytes));
}

// `sequences` sequences of `context` positions whose last `rows` rows attend; Tiny's 10 heads.
void BenchMha(benchmark::State& state, const KernelTable* table, int64_t sequences, int64_t rows,
              int64_t context) {
  const MhaShape shape{10, 10, 128, 0.088f};
  constexpr int64_t kBlock = 16;
  const int64_t blocks = (context + kBlock - 1) / kBlock;
  const int64_t block_bytes = 2 * shape.num_kv_heads * kBlock * shape.head_dim * 2;
  std::vector<uint16_t> pages(static_cast<size_t>(sequences * blocks * block_bytes / 2), 0x3c00);
  const PagedKv kv{pages.data(), DType::kBF16, sequences * blocks, kBlock, block_bytes};
  std::vector<int32_t> tables(static_cast<size_t>(sequences * blocks));
  for (size_t i = 0; i < tables.size(); ++i) tables[i] = static_cast<int32_t>(i);
  std::vector<SequenceRows> batch;
  for (int64_t s = 0; s < sequences; ++s) {
    batch.push_back({s * rows, rows, context - rows, tables.data() + s * blocks});
  }
  std::vector<float> q = RandomFloats(sequences * rows * 1280);
  std::vector<float> out(q.size());
  for (auto _ : state) {
    table->attention_mha(*g_machine->stream, shape, batch.data(), sequences, View(q, 1280), kv,
                         View(out, 1280));
  }
  const double pairs = static_cast<double>(sequences) * rows * (context - (rows - 1) / 2.0);
  CountArithmetic(state, 4.0 * pairs * 1280, g_machine->limits.f32_flops);
  CountBytes(state, static_cast<double>(sequences) * context * 2 * 1280 * 2);
}

void BenchMla(benchmark::State& state, const KernelTable* table, int64_t sequences, int64_t rows,
              int64_t context) {
  const MlaShape shape{16, 512, 64, 0.07f};
  constexpr int64_t kBlock = 16;
  const int64_t blocks = (context + kBlock - 1) / kBlock;
  const int64_t block_bytes = kBlock * 576 * 2;
  std::vector<uint16_t> pages(static_cast<size_t>(sequences * blocks * block_bytes / 2), 0x3c00);
  const PagedKv kv{pages.data(), DType::kBF16, sequences * blocks, kBlock, block_bytes};
  std::vector<int32_t> tables(static_cast<size_t>(sequences * blocks));
  for (size_t i = 0; i < tables.size(); ++i) tables[i] = static_cast<int32_t>(i);
  std::vector<SequenceRows> batch;
  for (int64_t s = 0; s < sequences; ++s) {
    batch.push_back({s * rows, rows, context - rows, tables.data() + s * blocks});
  }
  std::vector<float> latent = RandomFloats(sequences * rows * 16 * 512);
  std::vector<float> rope = RandomFloats(sequences * rows * 16 * 64);
  std::vector<float> out(latent.size());
  for (auto _ : state) {
    table->attention_mla(*g_machine->stream, shape, batch.data(), sequences, View(latent, 16 * 512),
                         View(rope, 16 * 64), kv, View(out, 16 * 512));
  }
  const double pairs = static_cast<double>(sequences) * rows * (context - (rows - 1) / 2.0);
  CountArithmetic(state, 2.0 * pairs * 16 * (576 + 512), g_machine->limits.f32_flops);
  CountBytes(state, static_cast<double>(sequences) * context * 576 * 2);
}

void BenchTower(benchmark::State& state, const KernelTable* table) {
  std::vector<float> qkv = RandomFloats(729 * 3 * 1152);
  std::vector<float> out(729 * 1152);
  for (auto _ : state) {
    table->attention_full(*g_machine->stream, 729, 16, 72, 0.118f, View(qkv, 3 * 1152),
                          View(out, 1152));
  }
  CountArithmetic(state, 4.0 * 729 * 729 * 1152, g_machine->limits.f32_flops);
}

void BenchRows(benchmark::State& state, const KernelTable* table, const std::string& op,
               int64_t rows, int64_t cols) {
  std::vector<float> x = RandomFloats(rows * 2 * cols);
  std::vector<float> y(static_cast<size_t>(rows * cols));
  const std::vector<float> gamma(static_cast<size_t>(cols), 1.0f);
  Stream& stream = *g_machine->stream;
  const Mat half{x.data(), rows, cols, cols};
  for (auto _ : state) {
    if (op == "rms_norm") table->rms_norm(stream, half, gamma.data(), 1e-6f, View(y, cols));
    if (op == "layer_norm") {
      table->layer_norm(stream, half, gamma.data(), gamma.data(), 1e-6f, View(y, cols));
    }
    if (op == "silu_mul") table->silu_mul(stream, View(x, 2 * cols), View(y, cols));
    if (op == "gelu_tanh") table->gelu_tanh(stream, half);
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}

void BenchForkJoin(benchmark::State& state) {
  for (auto _ : state) g_machine->pool.RunOnAll([](int) {});
}

template <typename... Args>
void Register(const std::string& name, Args... args) {
  benchmark::RegisterBenchmark(name.c_str(), args...)
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(0.3);
}

void RegisterTable(const KernelTable* table) {
  const std::string name = table->name;
  struct Shape {
    int64_t rows, k, n;
  };
  for (const Shape s : {Shape{1, 1280, 3840}, Shape{1, 1280, 129280}, Shape{2, 1280, 13696},
                        Shape{4, 1280, 13696}, Shape{16, 1280, 3840}, Shape{512, 1280, 3840},
                        Shape{512, 6848, 1280}, Shape{729, 1152, 4304}}) {
    const std::string shape =
        std::to_string(s.rows) + "x" + std::to_string(s.k) + "x" + std::to_string(s.n);
    Register("gemm/bf16/" + shape + "/" + name, BenchGemm, table, DType::kBF16, Compute::kBF16,
             int64_t{1}, s.rows, s.k, s.n);
  }
  Register("gemm/f32/512x1280x3840/" + name, BenchGemm, table, DType::kF32, Compute::kF32,
           int64_t{1}, int64_t{512}, int64_t{1280}, int64_t{3840});
  for (const int64_t rows : {1, 2, 12, 48}) {
    Register("moe/" + std::to_string(rows) + "/6/" + name, BenchGemm, table, DType::kBF16,
             Compute::kBF16, int64_t{6}, rows, int64_t{1280}, int64_t{1792});
  }
  Register("attention/mha/decode/1x2048/" + name, BenchMha, table, int64_t{1}, int64_t{1},
           int64_t{2048});
  Register("attention/mha/decode/16x1024/" + name, BenchMha, table, int64_t{16}, int64_t{1},
           int64_t{1024});
  Register("attention/mha/prefill/512of2048/" + name, BenchMha, table, int64_t{1}, int64_t{512},
           int64_t{2048});
  Register("attention/mla/decode/1x2048/" + name, BenchMla, table, int64_t{1}, int64_t{1},
           int64_t{2048});
  Register("attention/mla/prefill/128of1024/" + name, BenchMla, table, int64_t{1}, int64_t{128},
           int64_t{1024});
  Register("tower/attention/729x16x72/" + name, BenchTower, table);
  for (const char* op : {"rms_norm", "layer_norm", "silu_mul"}) {
    Register(std::string("rows/") + op + "/512x1280/" + name, BenchRows, table, std::string(op),
             int64_t{512}, int64_t{1280});
  }
  Register("rows/gelu_tanh/729x4304/" + name, BenchRows, table, std::string("gelu_tanh"),
           int64_t{729}, int64_t{4304});
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  using tessera::bench::g_machine;
  const char* threads = std::getenv("TESSERA_BENCH_THREADS");
  tessera::bench::Machine machine(threads != nullptr ? std::atoi(threads) : 2);
  g_machine = &machine;
  std::printf("machine: %.1f GFLOP/s f32, %.1f GFLOP/s bf16, %.1f GB/s read\n",
              machine.limits.f32_flops / 1e9, machine.limits.bf16_flops / 1e9,
              machine.limits.read_bytes / 1e9);
  for (const std::string& name : tessera::kernels::RunnableKernelNames()) {
    tessera::bench::RegisterTable(tessera::kernels::KernelsByName(name));
  }
  tessera::bench::Register("pool/fork_join", tessera::bench::BenchForkJoin);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
