#include "worker/service/registration.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "services/base/log.h"
#include "services/rpc/channel.h"
#include "services/rpc/grpc_status.h"
#include "tessera/v1/router.grpc.pb.h"

namespace tessera::worker {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(2);
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(2);
// Bounds what a router may ask for.
constexpr absl::Duration kShortestInterval = absl::Milliseconds(10);
constexpr absl::Duration kLongestInterval = absl::Minutes(5);

v1::WorkerRole ToRole(const std::string& role) {
  if (role == "prefill") return v1::WORKER_ROLE_PREFILL;
  if (role == "decode") return v1::WORKER_ROLE_DECODE;
  return v1::WORKER_ROLE_BOTH;
}

}  // namespace

absl::Duration RetryPause(int failures, double uniform) {
  const absl::Duration whole =
      std::min(kLongestPause, kFirstPause * (int64_t{1} << std::clamp(failures - 1, 0, 10)));
  return whole * (0.5 + 0.5 * uniform);
}

struct Registration::State {
  State(const std::string& router_address, WorkerDescription description_in,
        RegistrationHooks hooks_in)
      : description(std::move(description_in)),
        hooks(std::move(hooks_in)),
        stub(v1::RouterService::NewStub(rpc::MakeChannel(router_address))) {}

  void Run();
  // One conversation with the router. The pause until the next.
  absl::Duration Talk();
  absl::Status Register();
  absl::Status Heartbeat();
  void Deregister();
  void FillLoad(v1::WorkerLoad& load) const;
  void FillPlace(v1::GroupPlace& place) const;

  const WorkerDescription description;
  const RegistrationHooks hooks;
  const std::unique_ptr<v1::RouterService::Stub> stub;
  std::atomic<bool> draining{false};

  std::mutex mutex;  // guards the next two
  std::condition_variable wake;
  bool stopping = false;
  bool hurry = false;  // do not sit the pause out

  const int64_t started_at_ms = description.started_at_ms > 0 ? description.started_at_ms
                                                              : absl::ToUnixMillis(absl::Now());

  // Of the thread alone.
  bool registered = false;
  uint64_t epoch = 0;  // of the last registration
  int failures = 0;
  absl::Duration interval = absl::Seconds(1);
  std::mt19937_64 random{std::random_device()()};

  std::thread thread;
};

void Registration::State::Run() {
  for (;;) {
    const absl::Duration pause = Talk();
    std::unique_lock lock(mutex);
    wake.wait_for(lock, absl::ToChronoNanoseconds(pause), [this] { return stopping || hurry; });
    hurry = false;
    if (stopping) break;
  }
  if (registered) Deregister();
}

absl::Duration Registration::State::Talk() {
  const absl::Status status = registered ? Heartbeat() : Register();
  if (status.ok()) {
    if (!registered) {
      TESSERA_LOG(kInfo) << "registered with the router as " << description.worker_id << ", epoch "
                         << epoch;
      registered = true;
      if (hooks.on_registered) hooks.on_registered(epoch);
      if (draining) return absl::ZeroDuration();  // the router must not learn it a beat too late
    } else if (failures > 0) {
      TESSERA_LOG(kInfo) << "the router answers again";
    }
    failures = 0;
    return interval;
  }
  if (registered && absl::IsNotFound(status)) {
    TESSERA_LOG(kWarning) << "the router has forgotten this worker; registering again";
    registered = false;
    return absl::ZeroDuration();
  }
  // One line per trouble, not per try.
  if (++failures == 1) {
    TESSERA_LOG(kWarning) << "the router: " << status.ToString();
  }
  const absl::Duration pause =
      RetryPause(failures, std::uniform_real_distribution<double>(0, 1)(random));
  return registered ? std::min(pause, interval) : pause;
}

void Registration::State::FillLoad(v1::WorkerLoad& load) const {
  const engine::EngineSnapshot snapshot = hooks.load();
  load.set_running_requests(static_cast<int32_t>(snapshot.running_requests));
  load.set_queued_requests(static_cast<int32_t>(snapshot.queued_requests));
  load.set_max_queued_requests(static_cast<int32_t>(description.max_queued_requests));
  load.set_outstanding_tokens(snapshot.outstanding_tokens);
  load.set_kv_blocks_total(snapshot.kv_blocks_total);
  load.set_kv_blocks_used(snapshot.kv_blocks_used);
  load.set_kv_blocks_cached(snapshot.kv_blocks_cached);
  load.set_generated_tokens(snapshot.generated_tokens);
  load.set_prompt_tokens(snapshot.prompt_tokens);
  load.set_kv_leases_reclaimed(snapshot.kv_leases.reclaimed);
  if (hooks.expert_imbalance) load.set_expert_imbalance(hooks.expert_imbalance());
}

void Registration::State::FillPlace(v1::GroupPlace& place) const {
  place.set_group(description.seat.group);
  place.set_stages(static_cast<int32_t>(description.seat.stages));
  place.set_expert_ranks(static_cast<int32_t>(description.seat.expert_ranks));
  place.set_stage(static_cast<int32_t>(description.seat.stage));
  place.set_expert_rank(static_cast<int32_t>(description.seat.expert_rank));
  if (hooks.group_epoch) place.set_epoch(hooks.group_epoch());
}

absl::Status Registration::State::Register() {
  v1::RegisterRequest request;
  request.set_worker_id(description.worker_id);
  request.set_address(description.address);
  request.set_role(ToRole(description.role));
  request.set_model_revision(description.model_revision);
  request.set_model_name(description.model_name);
  request.set_context_tokens(static_cast<int32_t>(description.context_tokens));
  request.set_kv_block_size_tokens(static_cast<int32_t>(description.kv_block_size_tokens));
  request.set_numerics(description.numerics);
  request.set_started_at_ms(started_at_ms);
  FillLoad(*request.mutable_load());
  if (!description.seat.group.empty()) FillPlace(*request.mutable_place());
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + kCallTimeout));
  v1::RegisterResponse response;
  const grpc::Status status = stub->Register(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpcStatus(status);
  if (hooks.blocks != nullptr) hooks.blocks->StartAnew();
  epoch = response.epoch();
  interval = std::clamp(absl::Milliseconds(response.heartbeat_interval_ms()), kShortestInterval,
                        kLongestInterval);
  return absl::OkStatus();
}

absl::Status Registration::State::Heartbeat() {
  v1::HeartbeatRequest request;
  request.set_worker_id(description.worker_id);
  request.set_draining(draining);
  request.set_started_at_ms(started_at_ms);
  FillLoad(*request.mutable_load());
  if (!description.seat.group.empty()) FillPlace(*request.mutable_place());
  if (hooks.blocks != nullptr) {
    const BlockLog::Report report = hooks.blocks->Take();
    request.set_kv_events_are_all(report.all);
    for (const BlockLog::Change& change : report.changes) {
      v1::KvBlockEvent& event = *request.add_kv_events();
      event.set_hash(change.hash);
      event.set_dropped(change.dropped);
    }
  }
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + kCallTimeout));
  v1::HeartbeatResponse response;
  const grpc::Status status = stub->Heartbeat(&context, request, &response);
  if (!status.ok() && hooks.blocks != nullptr) hooks.blocks->StartAnew();
  return rpc::FromGrpcStatus(status);
}

void Registration::State::Deregister() {
  v1::DeregisterRequest request;
  request.set_worker_id(description.worker_id);
  request.set_started_at_ms(started_at_ms);
  grpc::ClientContext context;
  context.set_deadline(rpc::ToChrono(absl::Now() + kCallTimeout));
  v1::DeregisterResponse response;
  const grpc::Status status = stub->Deregister(&context, request, &response);
  if (!status.ok()) {
    TESSERA_LOG(kWarning) << "could not say goodbye to the router: " << status.error_message();
  }
}

Registration::Registration(const std::string& router_address, WorkerDescription description,
                           RegistrationHooks hooks)
    : state_(std::make_unique<State>(router_address, std::move(description), std::move(hooks))) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

Registration::~Registration() { Stop(); }

void Registration::SetDraining() {
  state_->draining = true;
  Hurry();
}

void Registration::Hurry() {
  {
    std::lock_guard lock(state_->mutex);
    state_->hurry = true;
  }
  state_->wake.notify_all();
}

void Registration::Stop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  if (state_->thread.joinable()) state_->thread.join();
}

}  // namespace tessera::worker
