// How fast one checkpoint runs on this machine, beside what the machine could do at best in the
// same run.
//
//   model_bench CHECKPOINT_DIR [KERNELS] [THREADS]      KERNELS: auto (default), reference,
//   generic, avx2, avx512bf16
//
// Cases: load; prefill/128, 512, 2048 tokens; decode/1, 4, 16 streams (64 tokens of context each);
// tower (seconds a tile). `limit` is arithmetic over peak FLOP/s (prefill, tower) or bytes over
// memory bandwidth (decode; expected number of touched experts). make_random_checkpoint.py makes a
// checkpoint of true shape.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "services/cli/check/model_runner.h"
#include "tests/bench/machine_limits.h"
#include "tests/worker/model/batch_runner.h"
#include "worker/model/memory_plan.h"
#include "worker/model/model.h"

namespace tessera::bench {
namespace {

using model::LanguageConfig;
using model::VlModel;

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

// The process's own memory: packed weights and activations, without mapped file pages.
double AnonymousGigabytes() {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;) {
    if (word == "RssAnon:") {
      double kilobytes = 0;
      in >> kilobytes;
      return kilobytes * 1024 / 1e9;
    }
  }
  return 0;
}

double PeakGigabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e9;
}

void Print(const std::string& name, double value, const char* unit, double limit,
           bool higher_is_better = true) {
  const double ratio = higher_is_better ? value / limit : limit / value;
  std::printf("%-24s %10.2f %-8s limit %10.2f  ratio %.2f\n", name.c_str(), value, unit, limit,
              ratio);
  std::fflush(stdout);
}

// What one token reads and computes with.
struct TokenCost {
  double dense = 0;   // parameters that every token uses, without lm_head
  double expert = 0;  // parameters of one expert, in all MoE layers together
  double lm_head = 0;
  double experts = 0;
  double top_k = 0;
};

TokenCost CostOf(const model::ModelConfig& config) {
  const model::ModelSize size = model::CountParameters(config);
  const LanguageConfig& language = config.language;
  TokenCost cost;
  cost.dense = static_cast<double>(size.attention.matrix + size.dense_mlp.matrix +
                                   size.shared_experts.matrix + size.router.matrix);
  cost.experts = static_cast<double>(language.n_routed_experts.value_or(1));
  cost.expert = static_cast<double>(size.routed_experts.matrix) / cost.experts;
  cost.top_k = static_cast<double>(language.num_experts_per_tok);
  cost.lm_head = static_cast<double>(size.embeddings.matrix);
  return cost;
}

double PrefillFlops(const model::ModelConfig& config, double tokens) {
  const TokenCost cost = CostOf(config);
  const LanguageConfig& language = config.language;
  const double heads = static_cast<double>(language.num_attention_heads);
  const double width =
      language.use_mla
          ? heads * static_cast<double>(2 * language.kv_lora_rank + language.qk_rope_head_dim)
          : 2 * heads * static_cast<double>(language.head_dim());
  const double attention = width * static_cast<double>(language.num_hidden_layers) * tokens *
                           tokens;  // 2 FLOP, half the square
  return 2 * tokens * (cost.dense + cost.top_k * cost.expert) + attention;
}

double DecodeBytes(const model::ModelConfig& config, double streams) {
  const TokenCost cost = CostOf(config);
  const double touched = cost.experts * (1 - std::pow(1 - cost.top_k / cost.experts, streams));
  return 2 * (cost.dense + touched * cost.expert + cost.lm_head);
}

double TowerFlops(const model::ModelConfig& config) {
  const double patches = static_cast<double>(config.vision.patches());
  const double attention =
      4 * patches * patches * static_cast<double>(config.vision.width * config.vision.layers);
  return 2 * patches * static_cast<double>(model::CountParameters(config).vision.matrix) +
         attention;
}

std::vector<int32_t> RandomIds(int64_t count, int64_t vocab, uint32_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>((seed >> 8) % static_cast<uint32_t>(vocab)));
  }
  return ids;
}

// Chunks of this many tokens, as an engine would hand them in.
constexpr int64_t kChunkTokens = 512;

void BenchPrefill(VlModel& model, int64_t tokens, double flops_per_second) {
  check::ModelRunner runner(model, tokens, 16);
  const check::Prompt prompt{RandomIds(tokens, model.config().language.vocab_size, 1), {}};
  double best = 1e9;
  for (int repeat = 0; repeat < 2; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    if (!runner.Prefill(prompt, kChunkTokens).ok()) return;
    best = std::min(best, Seconds(start));
  }
  const auto count = static_cast<double>(tokens);
  Print("prefill/" + std::to_string(tokens), count / best, "tok/s",
        count * flops_per_second / PrefillFlops(model.config(), count));
}

void BenchDecode(VlModel& model, int64_t streams, double bytes_per_second) {
  constexpr int64_t kContext = 64;
  constexpr int64_t kSteps = 24;
  std::vector<check::Prompt> prompts;
  for (int64_t s = 0; s < streams; ++s) {
    prompts.push_back(
        {RandomIds(kContext, model.config().language.vocab_size, static_cast<uint32_t>(s) + 7),
         {}});
  }
  model::BatchRunner runner(model, prompts, kContext + kSteps + 1, 16);
  std::vector<std::pair<int, int64_t>> parts;
  for (int s = 0; s < static_cast<int>(streams); ++s) parts.emplace_back(s, kContext);
  if (!runner.Step(parts).ok()) return;
  for (auto& part : parts) part.second = 1;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int s = 0; s < static_cast<int>(streams); ++s)
      runner.Append(s, check::ArgMax(runner.logits(s)));
    if (!runner.Step(parts).ok()) return;
  }
  const double rate = static_cast<double>(kSteps * streams) / Seconds(start);
  const auto count = static_cast<double>(streams);
  Print("decode/" + std::to_string(streams), rate, "tok/s",
        count * bytes_per_second / DecodeBytes(model.config(), count));
}

void BenchTower(VlModel& model, double flops_per_second) {
  const int64_t side = model.config().vision.image_size;
  const int64_t hidden = model.config().language.hidden_size;
  constexpr int64_t kTiles = 2;
  const std::vector<uint8_t> pixels(static_cast<size_t>(kTiles * 3 * side * side), 100);
  const int64_t rows = model.NumImageTokens(1, 1);
  std::vector<float> features(static_cast<size_t>(rows * hidden));
  const auto start = std::chrono::steady_clock::now();
  if (!model.EncodeImage({pixels, kTiles, 1, 1}, {features.data(), rows, hidden, hidden}).ok())
    return;
  Print("tower", Seconds(start) / kTiles, "s/tile", TowerFlops(model.config()) / flops_per_second,
        /*higher_is_better=*/false);
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: model_bench CHECKPOINT_DIR [KERNELS] [THREADS]\n");
    return 2;
  }
  model::LoadOptions options;
  options.table = kernels::KernelsByName(argc > 2 ? argv[2] : "auto");
  if (options.table == nullptr) {
    std::fprintf(stderr, "model_bench: kernels \"%s\" do not run here\n", argv[2]);
    return 2;
  }
  kernels::ThreadPool pool(argc > 3 ? std::atoi(argv[3])
                                    : static_cast<int>(std::thread::hardware_concurrency()));
  options.pool = &pool;
  const auto start = std::chrono::steady_clock::now();
  auto loaded = VlModel::Load(argv[1], options);
  if (!loaded.ok()) {
    std::fprintf(stderr, "model_bench: %s\n", std::string(loaded.status().message()).c_str());
    return 1;
  }
  VlModel& model = **loaded;
  const double load_seconds = Seconds(start);
  std::printf("%s kernels, %d threads: loaded %.2f GB in %.2f s; resident %.2f GB, peak %.2f GB\n",
              options.table->name, pool.num_threads(),
              static_cast<double>(model.weight_bytes()) / 1e9, load_seconds, AnonymousGigabytes(),
              PeakGigabytes());
  // Limits drift within seconds on shared machines: measured again before each group.
  MachineLimits limits = MeasureMachineLimits(pool);
  const auto flops = [&] { return limits.bf16_flops > 0 ? limits.bf16_flops : limits.f32_flops; };
  std::printf("machine: %.0f GFLOP/s bf16, %.0f GFLOP/s f32, %.1f GB/s\n", limits.bf16_flops / 1e9,
              limits.f32_flops / 1e9, limits.read_bytes / 1e9);
  for (const int64_t tokens : {128, 512, 2048}) {
    if (tokens <= model.config().language.max_position_embeddings)
      BenchPrefill(model, tokens, flops());
  }
  for (const int64_t streams : {1, 4, 16}) {
    limits = MeasureMachineLimits(pool);
    BenchDecode(model, streams, limits.read_bytes);
  }
  limits = MeasureMachineLimits(pool);
  BenchTower(model, flops());
  std::printf("peak %.2f GB\n", PeakGigabytes());
  return 0;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::Main(argc, argv); }
