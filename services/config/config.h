// Configuration of every process as plain values: defaults, units and ranges stand here and nowhere
// else. A YAML file sets what differs from the defaults; deploy/config/cluster.example.yaml names
// every key.
#ifndef TESSERA_SERVICES_CONFIG_CONFIG_H_
#define TESSERA_SERVICES_CONFIG_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tessera::config {

struct ModelSettings {
  std::string
      path;  // folder in the official checkpoint layout; empty: the model that ships with Tessera
  std::string name;  // what clients call it; empty: the folder's base name
};

struct LogSettings {
  std::string level = "info";   // debug, info, warning, error
  std::string format = "text";  // text, json
};

struct GatewaySettings {
  std::string listen = "127.0.0.1:7400";  // host:port of the public gRPC API; port 0: any free one,
                                          // said in the ready line
  std::string metrics_listen;             // host:port of /metrics; empty: off
  std::string router_address;             // host:port; `tessera serve` fills it in
  bool reflection = true;                 // gRPC server reflection
  int64_t max_message_bytes = 256 << 20;  // of one gRPC message, [1 MiB, 2 GiB)
  int64_t max_images = 16;                // of one call, [0, 64]
  int64_t max_image_bytes = 20 << 20;     // of one picture file
  int64_t max_image_side_pixels = 16384;
  int64_t max_image_pixels = 40'000'000;
  int64_t max_request_pixels =
      160'000'000;  // of all pictures of one call; bounds the memory that decoding takes
  int64_t max_concurrent_requests = 256;                // more are RESOURCE_EXHAUSTED
  int64_t preprocessing_threads = 2;                    // decode and tile pictures, [1, 64]
  absl::Duration default_deadline = absl::Minutes(10);  // of calls that bring none
  int64_t max_attempts = 3;  // routes tried per sequence when workers fail, [1, 10]
  absl::Duration router_timeout = absl::Seconds(5);  // of one Place call
  absl::Duration drain_timeout = absl::Seconds(30);  // after SIGTERM
};

struct RouterSettings {
  std::string listen = "127.0.0.1:7401";
  std::string metrics_listen;
  absl::Duration lease = absl::Seconds(5);  // a worker that is silent for so long is gone
  absl::Duration heartbeat_interval =
      absl::Seconds(1);                 // what workers are told; at most a third of the lease
  std::string policy = "least_tokens";  // least_tokens, round_robin
};

struct WorkerSettings {
  std::string id;  // unique in the cluster; empty: host name and port
  std::string listen = "127.0.0.1:0";
  std::string advertise;  // host:port that others reach; empty: as bound
  std::string metrics_listen;
  std::string router_address;    // `tessera serve` fills it in
  std::string role = "both";     // both
  std::string compute = "bf16";  // bf16, f32
  std::string cpu_isa = "auto";  // auto, reference, generic, avx2, avx512bf16
  int64_t threads = 0;  // 0: all processors that the process may use, shared among local workers by
                        // `tessera serve`
  int64_t kv_cache_bytes = int64_t{1} << 30;
  int64_t kv_block_size_tokens = 16;  // [1, 256]
  int64_t embedding_cache_bytes = 256 << 20;
  int64_t max_batch_sequences = 64;    // [1, 1024]
  int64_t max_step_tokens = 512;       // [1, 65536]
  int64_t prefill_chunk_tokens = 512;  // [1, 65536]
  int64_t max_queued_requests = 256;
  bool prefix_caching = true;
  absl::Duration no_progress_timeout = absl::Seconds(60);
  absl::Duration drain_timeout = absl::Seconds(30);
};

// What `tessera serve` reads: one file for a whole local cluster.
struct ClusterConfig {
  ModelSettings model;
  LogSettings log;
  GatewaySettings gateway;
  RouterSettings router;
  WorkerSettings worker;    // settings of each local worker
  int64_t num_workers = 1;  // key `workers`, [1, 64]
};

// Reads YAML. Keys are the member names; durations carry the suffix `_ms` (integer milliseconds),
// e.g. gateway.drain_timeout_ms. Byte sizes accept an integer or a text such as "20MiB", "1GiB".
// INVALID_ARGUMENT: "file:line: key: what is wrong and the allowed range"; unknown keys are errors
// that name the nearest known one. An empty text is the defaults.
absl::StatusOr<ClusterConfig> ParseClusterConfig(std::string_view yaml, std::string_view file_name);
// NOT_FOUND: no such file.
absl::StatusOr<ClusterConfig> ReadClusterConfig(const std::string& path);

// Checks ranges; called by the readers, and again after command-line overrides.
absl::Status Validate(const ClusterConfig& config);

// Every key with its default, as YAML with comments: what deploy/config/cluster.example.yaml holds.
std::string ExampleYaml();

}  // namespace tessera::config

#endif  // TESSERA_SERVICES_CONFIG_CONFIG_H_
