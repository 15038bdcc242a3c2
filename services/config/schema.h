// Every key of the configuration: its place, kind, range and meaning. The reader, the checker and
// the example file are visitors of this one list, so they cannot disagree.
//
// A visitor has: Section(key, comment, struct, visit function), which may stand in another section,
// Text, Address, Choice, Bool, Int, Bytes, Milliseconds and Topology.
#ifndef TESSERA_SERVICES_CONFIG_SCHEMA_H_
#define TESSERA_SERVICES_CONFIG_SCHEMA_H_

#include "services/config/config.h"

namespace tessera::config {

// What an address may be.
enum class AddressUse {
  kListen,          // host:port, port 0 allowed
  kOptionalListen,  // as above, or empty
  kOptionalPeer,    // host:port with a port above 0, or empty
};

inline constexpr int64_t kMaxDurationMs = int64_t{7} * 24 * 3600 * 1000;
inline constexpr int64_t kMaxBytes = int64_t{1} << 50;

template <typename Visitor, typename Settings>
void VisitModel(Visitor& v, Settings& s) {
  v.Text("path", s.path,
         "folder in the official checkpoint layout; empty: the model that ships with Tessera");
  v.Text("name", s.name, "what clients call it; empty: the folder's base name");
}

template <typename Visitor, typename Settings>
void VisitLog(Visitor& v, Settings& s) {
  v.Choice("level", s.level, {"debug", "info", "warning", "error"}, "lines below it are left out");
  v.Choice("format", s.format, {"text", "json"}, "for terminals or for collectors");
}

template <typename Visitor, typename Settings>
void VisitGateway(Visitor& v, Settings& s) {
  v.Address("listen", s.listen, AddressUse::kListen,
            "the public gRPC API; port 0: any free one, said in the ready line");
  v.Address("metrics_listen", s.metrics_listen, AddressUse::kOptionalListen,
            "/metrics for Prometheus; empty: off");
  v.Address("router_address", s.router_address, AddressUse::kOptionalPeer,
            "`tessera serve` fills it in");
  v.Bool("reflection", s.reflection, "gRPC server reflection");
  v.Bytes("max_message_bytes", s.max_message_bytes, int64_t{1} << 20, (int64_t{1} << 31) - 1,
          "of one gRPC message");
  v.Int("max_images", s.max_images, 0, 64, "pictures of one call");
  v.Bytes("max_image_bytes", s.max_image_bytes, 1, (int64_t{1} << 31) - 1, "of one picture file");
  v.Int("max_image_side_pixels", s.max_image_side_pixels, 1, 65535,
        "read from the file's header, before decoding");
  v.Int("max_image_pixels", s.max_image_pixels, 1, 1'000'000'000,
        "width times height of one picture");
  v.Int("max_request_pixels", s.max_request_pixels, 1, 4'000'000'000,
        "of all pictures of one call; each takes 3 bytes of memory");
  v.Int("max_concurrent_requests", s.max_concurrent_requests, 1, 100'000,
        "more are RESOURCE_EXHAUSTED");
  v.Int("preprocessing_threads", s.preprocessing_threads, 1, 64,
        "decode and tile pictures, tokenize");
  v.Milliseconds("default_deadline_ms", s.default_deadline, 1, kMaxDurationMs,
                 "of calls that bring none");
  v.Int("max_attempts", s.max_attempts, 1, 10, "workers tried per answer when workers fail");
  v.Milliseconds("router_timeout_ms", s.router_timeout, 1, 600'000, "of one call to the router");
  v.Milliseconds("drain_timeout_ms", s.drain_timeout, 0, kMaxDurationMs,
                 "after SIGTERM, requests in flight may take so long");
}

template <typename Visitor, typename Settings>
void VisitRouter(Visitor& v, Settings& s) {
  v.Address("listen", s.listen, AddressUse::kListen, "where workers register and gateways ask");
  v.Address("metrics_listen", s.metrics_listen, AddressUse::kOptionalListen,
            "/metrics for Prometheus; empty: off");
  v.Milliseconds("lease_ms", s.lease, 30, 600'000, "a worker that is silent for so long is gone");
  v.Milliseconds("heartbeat_interval_ms", s.heartbeat_interval, 10, 200'000,
                 "what workers are told; at most a third of the lease");
  v.Choice("policy", s.policy, {"least_tokens", "round_robin", "prefix"},
           "which worker takes a request; prefix: one that knows the prompt's beginning, unless it "
           "is far busier");
  v.Milliseconds("group_form_timeout_ms", s.group_form_timeout, 100, 3'600'000,
                 "a new group waits so long for all of its ranks");
  v.Milliseconds("group_settle_ms", s.group_settle, 0, 60'000,
                 "after a router's start, for the ranks of a standing group to report back");
}

template <typename Visitor, typename Settings>
void VisitGroup(Visitor& v, Settings& s) {
  v.Text("name", s.name, "the same for all ranks of the group, at most 64 bytes; empty: no group");
  v.Int("stages", s.stages, 1, 64, "runs of layers, one after another");
  v.Int("expert_ranks", s.expert_ranks, 1, 64, "ranks per stage that share its experts");
  v.Int("stage", s.stage, 0, 63, "this rank's, below stages");
  v.Int("expert_rank", s.expert_rank, 0, 63, "this rank's, below expert_ranks");
}

// One entry of `topology` as a list.
template <typename Visitor, typename Settings>
void VisitPool(Visitor& v, Settings& s) {
  v.Choice("role", s.role, {"both", "prefill", "decode"}, "what its ranks are for");
  v.Int("stages", s.stages, 1, 64, "of each group");
  v.Int("expert_ranks", s.expert_ranks, 1, 64, "per stage");
  v.Int("groups", s.groups, 1, 64, "of this shape");
}

template <typename Visitor, typename Settings>
void VisitWorker(Visitor& v, Settings& s) {
  v.Text("id", s.id, "unique in the cluster; empty: host name and port");
  v.Address("listen", s.listen, AddressUse::kListen, "where gateways call; port 0: any free one");
  v.Address("advertise", s.advertise, AddressUse::kOptionalPeer,
            "host:port that others reach; empty: as bound");
  v.Address("metrics_listen", s.metrics_listen, AddressUse::kOptionalListen,
            "/metrics for Prometheus; empty: off");
  v.Address("router_address", s.router_address, AddressUse::kOptionalPeer,
            "`tessera serve` fills it in");
  v.Choice("role", s.role, {"both", "prefill", "decode"},
           "prefill computes prompts and hands their KV over; decode takes it and generates");
  v.Choice("transport", s.transport, {"auto", "shm", "gloo", "nccl"},
           "between the ranks of a group: shared memory, TCP, GPUs; the same for all of them");
  v.Section("group", "where this rank stands in its group; `tessera serve` fills it in", s.group,
            [](auto& visitor, auto& group) { VisitGroup(visitor, group); });
  v.Choice("compute", s.compute, {"bf16", "f32"},
           "bf16: activations are rounded where a product reads them; sums are fp32 either way");
  v.Choice("cpu_isa", s.cpu_isa, {"auto", "reference", "generic", "avx2", "avx512bf16"},
           "instruction set of the kernels");
  v.Int("threads", s.threads, 0, 1024,
        "0: all processors that the process may use, shared among local workers");
  v.Bytes("kv_cache_bytes", s.kv_cache_bytes, 1, kMaxBytes, "of all layers together");
  v.Int("kv_block_size_tokens", s.kv_block_size_tokens, 1, 256, "tokens that one KV block holds");
  v.Bytes("embedding_cache_bytes", s.embedding_cache_bytes, 0, kMaxBytes,
          "encoded pictures that are kept for reuse");
  v.Int("max_batch_sequences", s.max_batch_sequences, 1, 1024, "sequences per step");
  v.Int("max_step_tokens", s.max_step_tokens, 1, 65536, "rows per step");
  v.Int("prefill_chunk_tokens", s.prefill_chunk_tokens, 1, 65536,
        "most rows of one prompt in one step");
  v.Int("max_queued_requests", s.max_queued_requests, 0, 1'000'000,
        "waiting, not running; more are RESOURCE_EXHAUSTED");
  v.Bool("prefix_caching", s.prefix_caching, "prompts that begin alike share their KV blocks");
  v.Int("micro_batches", s.micro_batches, 1, 16,
        "parts of a step, so that the stages of a group work at the same time");
  v.Int("redundant_experts", s.redundant_experts, 0, 64,
        "second copies of busy experts per rank and layer; without effect until experts are placed "
        "by load");
  v.Milliseconds("no_progress_timeout_ms", s.no_progress_timeout, 1, kMaxDurationMs,
                 "a running request that gains nothing for so long fails");
  v.Milliseconds("step_timeout_ms", s.step_timeout, 1, kMaxDurationMs,
                 "a rank of the group that is silent for so long in a step is suspect");
  v.Milliseconds("kv_lease_ms", s.kv_lease, 1, kMaxDurationMs,
                 "handing a prompt's KV over may take so long; then its blocks are freed");
  v.Milliseconds("drain_timeout_ms", s.drain_timeout, 0, kMaxDurationMs,
                 "after SIGTERM, requests in flight may take so long");
}

// config is ClusterConfig or const ClusterConfig.
template <typename Visitor, typename Config>
void VisitCluster(Visitor& v, Config& config) {
  v.Section("model", "What is served.", config.model,
            [](auto& visitor, auto& s) { VisitModel(visitor, s); });
  v.Int("workers", config.num_workers, 1, 64,
        "local worker processes of `tessera serve`, each with the whole model");
  v.Topology("topology", config.topology,
             "instead of workers: [ROLE=]STAGESxEXPERT_RANKS[*GROUPS], more after commas, such as "
             "\"2x2\" or \"prefill=1x2,decode=1x2*2\"; or a list of {role, stages, expert_ranks, "
             "groups}");
  v.Section("log", "Log lines on stderr.", config.log,
            [](auto& visitor, auto& s) { VisitLog(visitor, s); });
  v.Section("gateway", "The public API.", config.gateway,
            [](auto& visitor, auto& s) { VisitGateway(visitor, s); });
  v.Section("router", "Knows the workers and places requests.", config.router,
            [](auto& visitor, auto& s) { VisitRouter(visitor, s); });
  v.Section("worker", "Settings of each worker.", config.worker,
            [](auto& visitor, auto& s) { VisitWorker(visitor, s); });
}

}  // namespace tessera::config

#endif  // TESSERA_SERVICES_CONFIG_SCHEMA_H_
