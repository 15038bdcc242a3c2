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
  std::string policy = "least_tokens";  // least_tokens, round_robin, prefix
  absl::Duration group_form_timeout =
      absl::Seconds(30);  // of a new group, from its first rank until all are there
  absl::Duration group_settle =
      absl::Seconds(2);  // after a router's start, for the ranks of a standing group to report back
};

// Where a rank stands in the group of ranks that share one copy of the model.
struct GroupSettings {
  std::string name;          // same for all ranks of the group, at most 64 bytes; empty: no group
  int64_t stages = 1;        // runs of layers, [1, 64]
  int64_t expert_ranks = 1;  // ranks per stage, [1, 64]; stages * expert_ranks is at most 64
  int64_t stage = 0;         // this rank's, below stages
  int64_t expert_rank = 0;   // this rank's, below expert_ranks
};

struct WorkerSettings {
  std::string id;  // unique in the cluster; empty: host name and port
  std::string listen = "127.0.0.1:0";
  std::string advertise;  // host:port that others reach; empty: as bound
  std::string metrics_listen;
  std::string router_address;      // `tessera serve` fills it in
  std::string role = "both";       // both, prefill (computes prompts), decode (generates)
  std::string transport = "auto";  // how the ranks of a group exchange rows: auto, shm (same
                                   // machine), gloo (TCP), nccl (GPUs); the same for all of them
  std::string compute = "bf16";    // bf16, f32
  std::string cpu_isa = "auto";    // auto, reference, generic, avx2, avx512bf16
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
  int64_t micro_batches = 2;  // parts of a step that are under way in the stages, [1, 16]
  int64_t redundant_experts =
      0;  // [0, 64]; read, but without effect until experts are placed by load
  absl::Duration no_progress_timeout = absl::Seconds(60);
  absl::Duration step_timeout =
      absl::Seconds(60);  // a rank of the group that is silent for so long in a step is suspect
  absl::Duration kv_lease =
      absl::Seconds(30);  // handing a prompt's rows over may take so long; then they are freed
  absl::Duration drain_timeout = absl::Seconds(30);
  GroupSettings group;
};

// Groups of one shape.
struct PoolSettings {
  std::string role = "both";  // both, prefill, decode
  int64_t stages = 1;         // of each group, [1, 64]
  int64_t expert_ranks = 1;   // per stage, [1, 64]
  int64_t groups = 1;         // [1, 64]
};

// What `tessera serve` reads: one file for a whole local cluster.
struct ClusterConfig {
  ModelSettings model;
  LogSettings log;
  GatewaySettings gateway;
  RouterSettings router;
  WorkerSettings worker;       // settings of each local worker
  int64_t num_workers = 1;     // key `workers`, [1, 64]: so many groups of one rank, role both
  bool workers_given = false;  // somebody set `workers`, so `topology` must be empty
  std::vector<PoolSettings> topology;  // at most 64 ranks in all; empty: `workers` says
};

// Reads YAML. Keys are the member names; durations carry the suffix `_ms` (integer milliseconds),
// e.g. gateway.drain_timeout_ms. Byte sizes accept an integer or a text such as "20MiB", "1GiB".
// INVALID_ARGUMENT: "file:line: key: what is wrong and the allowed range"; unknown keys are errors
// that name the nearest known one. An empty text is the defaults.
absl::StatusOr<ClusterConfig> ParseClusterConfig(std::string_view yaml, std::string_view file_name);
// NOT_FOUND: no such file.
absl::StatusOr<ClusterConfig> ReadClusterConfig(const std::string& path);

// Checks each value's own range, as far as values can be judged alone.
absl::Status ValidateValues(const ClusterConfig& config);

// Checks ranges and values against each other; called by the readers, and again after command-line
// overrides.
absl::Status Validate(const ClusterConfig& config);

// Every key with its default, as YAML with comments: what deploy/config/cluster.example.yaml holds.
std::string ExampleYaml();

}  // namespace tessera::config

#endif  // TESSERA_SERVICES_CONFIG_CONFIG_H_
