// NCCL runs without blocking: every wait of it is a poll, so that a deadline holds and a peer's end
// is seen. Only the thread that calls touches the communicator, since an abort frees it.
#include "worker/transport/nccl_communicator.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "worker/transport/exchange_communicator.h"

namespace tessera::transport {
namespace {

constexpr absl::Duration kPollInterval = absl::Microseconds(20);

absl::Status FromCuda(cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("CUDA: ", cudaGetErrorString(error)));
}

// ncclInProgress is no failure. NCCL does not tell which peer is gone.
absl::Status FromNccl(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
    case ncclInProgress:
      return absl::OkStatus();
    case ncclRemoteError:
    case ncclSystemError:
      return absl::UnavailableError("NCCL: a peer has died or cannot be reached");
    default:
      return absl::InternalError(absl::StrCat("NCCL: ", ncclGetErrorString(result)));
  }
}

// Device memory that grows. Freed by Free, on the device it is of.
struct DeviceBuffer {
  std::byte* bytes = nullptr;
  size_t capacity = 0;

  absl::Status Reserve(size_t size) {
    if (size <= capacity) return absl::OkStatus();
    Free();
    size = std::max(size, size_t{1} << 20);
    TESSERA_RETURN_IF_ERROR(FromCuda(cudaMalloc(reinterpret_cast<void**>(&bytes), size)));
    capacity = size;
    return absl::OkStatus();
  }
  void Free() {
    if (bytes != nullptr) cudaFree(bytes);
    bytes = nullptr;
    capacity = 0;
  }
};

class NcclCommunicator final : public ExchangeCommunicator {
 public:
  NcclCommunicator(int rank, int size, int device)
      : ExchangeCommunicator(rank, size), device_(device) {}
  ~NcclCommunicator() override;

  absl::Status Init(const ncclUniqueId& id, absl::Time deadline);

 protected:
  absl::Status Begin(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override;
  absl::Status Finish(absl::Time deadline) override;
  void Close() override { closed_ = true; }
  void Release() override;

 private:
  absl::Status Stage(absl::Span<const Outgoing> out, absl::Span<const Incoming> in);
  absl::Status Launch(absl::Span<const Outgoing> out, absl::Span<const Incoming> in);
  // Until `done` says so. done: StatusOr<bool>.
  template <typename Done>
  absl::Status Poll(absl::Time deadline, Done done);
  absl::StatusOr<bool> Launched();
  int first_peer() const { return in_.empty() ? out_.front().peer : in_.front().peer; }

  const int device_;
  std::atomic<bool> closed_{false};
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t exchanged_ = nullptr;
  DeviceBuffer sent_;
  DeviceBuffer received_;
  absl::Span<const Outgoing> out_;
  absl::Span<const Incoming> in_;
};

NcclCommunicator::~NcclCommunicator() {
  Close();
  Release();
  sent_.Free();
  received_.Free();
  if (exchanged_ != nullptr) cudaEventDestroy(exchanged_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

absl::Status NcclCommunicator::Init(const ncclUniqueId& id, absl::Time deadline) {
  TESSERA_RETURN_IF_ERROR(FromCuda(cudaSetDevice(device_)));
  TESSERA_RETURN_IF_ERROR(FromCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
  TESSERA_RETURN_IF_ERROR(FromCuda(cudaEventCreateWithFlags(&exchanged_, cudaEventDisableTiming)));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  TESSERA_RETURN_IF_ERROR(FromNccl(ncclCommInitRankConfig(&comm_, size(), id, rank(), &config)));
  absl::Status status = Poll(deadline, [this] { return Launched(); });
  if (absl::IsDeadlineExceeded(status)) {
    return absl::DeadlineExceededError("the ranks did not connect by NCCL in time");
  }
  return status;
}

absl::Status NcclCommunicator::Begin(absl::Span<const Outgoing> out,
                                     absl::Span<const Incoming> in) {
  out_ = out;
  in_ = in;
  if (closed_) return Aborted();
  if (out_.empty() && in_.empty()) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(FromCuda(cudaSetDevice(device_)));
  TESSERA_RETURN_IF_ERROR(Stage(out, in));
  return Launch(out, in);
}

absl::Status NcclCommunicator::Stage(absl::Span<const Outgoing> out,
                                     absl::Span<const Incoming> in) {
  size_t bytes = 0;
  for (const Outgoing& part : out) bytes += part.bytes.size();
  TESSERA_RETURN_IF_ERROR(sent_.Reserve(bytes));
  bytes = 0;
  for (const Incoming& part : in) bytes += part.bytes.size();
  TESSERA_RETURN_IF_ERROR(received_.Reserve(bytes));
  std::byte* to = sent_.bytes;
  for (const Outgoing& part : out) {
    TESSERA_RETURN_IF_ERROR(FromCuda(cudaMemcpyAsync(to, part.bytes.data(), part.bytes.size(),
                                                     cudaMemcpyHostToDevice, stream_)));
    to += part.bytes.size();
  }
  return absl::OkStatus();
}

absl::Status NcclCommunicator::Launch(absl::Span<const Outgoing> out,
                                      absl::Span<const Incoming> in) {
  TESSERA_RETURN_IF_ERROR(FromNccl(ncclGroupStart()));
  absl::Status status;
  const std::byte* from = sent_.bytes;
  for (const Outgoing& part : out) {
    status.Update(FromNccl(ncclSend(from, part.bytes.size(), ncclInt8, part.peer, comm_, stream_)));
    from += part.bytes.size();
  }
  std::byte* to = received_.bytes;
  for (const Incoming& part : in) {
    status.Update(FromNccl(ncclRecv(to, part.bytes.size(), ncclInt8, part.peer, comm_, stream_)));
    to += part.bytes.size();
  }
  status.Update(FromNccl(ncclGroupEnd()));  // always: a group that is open swallows later calls
  return status;
}

absl::Status NcclCommunicator::Finish(absl::Time deadline) {
  if (out_.empty() && in_.empty()) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(FromCuda(cudaSetDevice(device_)));
  TESSERA_RETURN_IF_ERROR(Poll(deadline, [this] { return Launched(); }));
  TESSERA_RETURN_IF_ERROR(FromCuda(cudaEventRecord(exchanged_, stream_)));
  TESSERA_RETURN_IF_ERROR(Poll(deadline, [this]() -> absl::StatusOr<bool> {
    TESSERA_RETURN_IF_ERROR(Launched().status());
    const cudaError_t done = cudaEventQuery(exchanged_);
    if (done == cudaErrorNotReady) return false;
    TESSERA_RETURN_IF_ERROR(FromCuda(done));
    return true;
  }));
  // Only now: a copy to memory that is not pinned waits for the stream, without a deadline.
  const std::byte* from = received_.bytes;
  for (const Incoming& part : in_) {
    TESSERA_RETURN_IF_ERROR(FromCuda(cudaMemcpyAsync(part.bytes.data(), from, part.bytes.size(),
                                                     cudaMemcpyDeviceToHost, stream_)));
    from += part.bytes.size();
  }
  return FromCuda(cudaStreamSynchronize(stream_));
}

// Whether what NCCL was last told to do is done, or on the stream.
absl::StatusOr<bool> NcclCommunicator::Launched() {
  ncclResult_t state = ncclSuccess;
  TESSERA_RETURN_IF_ERROR(FromNccl(ncclCommGetAsyncError(comm_, &state)));
  TESSERA_RETURN_IF_ERROR(FromNccl(state));
  return state == ncclSuccess;
}

template <typename Done>
absl::Status NcclCommunicator::Poll(absl::Time deadline, Done done) {
  constexpr int kLooksBeforeSleep = 100;
  for (int looks = 0;; ++looks) {
    TESSERA_ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return absl::OkStatus();
    if (closed_) return Aborted();
    if (absl::Now() >= deadline) {
      return in_.empty() && out_.empty() ? absl::DeadlineExceededError("NCCL is late")
                                         : PeerLate(first_peer());
    }
    if (looks < kLooksBeforeSleep) {
      std::this_thread::yield();
    } else {
      absl::SleepFor(kPollInterval);
    }
  }
}

void NcclCommunicator::Release() {
  cudaSetDevice(device_);
  if (comm_ != nullptr) ncclCommAbort(comm_);  // ends what runs on the device, too
  comm_ = nullptr;
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  out_ = {};
  in_ = {};
}

// UNAVAILABLE: none.
absl::StatusOr<int> ChooseDevice(int rank) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    return absl::UnavailableError("this host has no GPU that CUDA can use");
  }
  return rank % devices;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectNccl(const ConnectOptions& options) {
  const absl::StatusOr<int> device = ChooseDevice(options.rank);
  ncclUniqueId id = {};
  std::string mine = device.ok() ? "ready" : "";
  if (device.ok() && options.rank == 0) {
    TESSERA_RETURN_IF_ERROR(FromNccl(ncclGetUniqueId(&id)));
    mine.assign(id.internal, sizeof(id.internal));
  }
  if (options.size > 1) {
    // A rank without a GPU says so, since the others wait for its word.
    TESSERA_ASSIGN_OR_RETURN(
        const std::vector<std::string> words,
        options.rendezvous(absl::StrCat(options.round, "/nccl/id"), mine, options.deadline));
    for (int rank = 0; rank < options.size; ++rank) {
      if (words[rank].empty()) {
        return absl::UnavailableError(absl::StrCat("rank ", rank, " has no GPU"));
      }
    }
    if (words[0].size() != sizeof(id.internal)) {
      return absl::InternalError("rank 0 sent no NCCL id");
    }
    std::memcpy(id.internal, words[0].data(), sizeof(id.internal));
  }
  TESSERA_RETURN_IF_ERROR(device.status());
  auto communicator = std::make_unique<NcclCommunicator>(options.rank, options.size, *device);
  TESSERA_RETURN_IF_ERROR(communicator->Init(id, options.deadline));
  return communicator;
}

}  // namespace tessera::transport
