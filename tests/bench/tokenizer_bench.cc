// Loading a vocabulary, and encoding in MB/s: load/ds_v3, encode/ds_v3/english, …
#include <benchmark/benchmark.h>

#include "services/base/check.h"
#include "services/gateway/prompt/tokenizer.h"
#include "tests/support/golden_files.h"

namespace tessera::prompt {
namespace {

std::string Json(const char* name) {
  return testing::ReadGoldenFileOrGz(testing::GoldenPath("tokenizers/") + name + "/tokenizer.json");
}

void Load(benchmark::State& state, const char* name) {
  const std::string json = Json(name);
  for (auto _ : state) TESSERA_CHECK(Tokenizer::Parse(json, "").ok());
}

void Encode(benchmark::State& state, const char* name, const char* sample) {
  const auto tokenizer = Tokenizer::Parse(Json(name), "");
  TESSERA_CHECK(tokenizer.ok());
  std::string text;
  while (text.size() < 200'000) text += sample;
  for (auto _ : state) benchmark::DoNotOptimize((*tokenizer)->Encode(text, AddedTokens::kAll));
  state.counters["MB/s"] = benchmark::Counter(static_cast<double>(text.size()) / 1e6,
                                              benchmark::Counter::kIsIterationInvariantRate);
}

constexpr const char* kEnglish = "The giraffe at the back is taller than the 3 others, isn't it?\n";
constexpr const char* kChinese = "请描述这张图片里的每一个物体，并给出它们的位置。";

BENCHMARK_CAPTURE(Load, ds_v3, "ds_v3")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Load, ds_v2, "ds_v2")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, ds_v3 / english, "ds_v3", kEnglish)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, ds_v3 / chinese, "ds_v3", kChinese)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, ds_v2 / english, "ds_v2", kEnglish)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, ds_v2 / chinese, "ds_v2", kChinese)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tessera::prompt
