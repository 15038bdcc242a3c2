// An AllToAllV of two ranks: the time of one exchange, and the bytes that a rank sends its peer per
// second. shm and gloo run between two processes, in_process between two threads.
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "tests/worker/transport/process_group.h"
#include "worker/transport/transport.h"

namespace tessera::transport {
namespace {

class Exchange {
 public:
  explicit Exchange(int64_t bytes) : sizes_(2, bytes), send_(2 * bytes), receive_(2 * bytes) {}
  absl::Status Run(Communicator& rank) {
    return rank.AllToAllV({send_, sizes_}, {absl::MakeSpan(receive_), sizes_},
                          absl::Now() + absl::Seconds(10));
  }

 private:
  std::vector<int64_t> sizes_;
  std::vector<std::byte> send_, receive_;
};

// The peer's part: until the rank that measures ends.
void ExchangeUntilTheEnd(Communicator& rank, int64_t bytes) {
  Exchange exchange(bytes);
  while (exchange.Run(rank).ok()) {
  }
}

void Measure(benchmark::State& state, Communicator& rank) {
  Exchange exchange(state.range(0));
  for (auto _ : state) {
    const absl::Status status = exchange.Run(rank);
    if (!status.ok()) {
      state.SkipWithError(status.ToString().c_str());
      break;
    }
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void Processes(benchmark::State& state, const std::string& back_end) {
  ProcessGroup group(2);
  const auto connect = [&](int rank) {
    return Connect(back_end, {.rank = rank,
                              .size = 2,
                              .rendezvous = group.ForRank(rank),
                              .round = "bench",
                              .deadline = absl::Now() + absl::Seconds(10)});
  };
  const pid_t peer = group.Fork([&] {
    auto connected = connect(1);
    if (connected.ok()) ExchangeUntilTheEnd(**connected, state.range(0));
    return connected.ok() ? 0 : 1;
  });
  auto connected = connect(0);
  if (connected.ok()) {
    Measure(state, **connected);
    connected->reset();
  } else {
    state.SkipWithError(connected.status().ToString().c_str());
  }
  group.Join(peer);
}

void Threads(benchmark::State& state) {
  auto ranks = MakeInProcess(2);
  std::thread peer([&] { ExchangeUntilTheEnd(*ranks[1], state.range(0)); });
  Measure(state, *ranks[0]);
  ranks[0].reset();
  peer.join();
}

BENCHMARK(Threads)->Name("in_process")->Arg(5 << 10)->Arg(64 << 10)->UseRealTime();
BENCHMARK_CAPTURE(Processes, shm, "shm")->Name("shm")->Arg(5 << 10)->Arg(64 << 10)->UseRealTime();
BENCHMARK_CAPTURE(Processes, gloo, "gloo")
    ->Name("gloo")
    ->Arg(5 << 10)
    ->Arg(64 << 10)
    ->UseRealTime();

}  // namespace
}  // namespace tessera::transport
