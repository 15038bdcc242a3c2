#include "worker/transport/exchange_communicator.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::transport {
namespace {

// INVALID_ARGUMENT: the sizes are not those of `bytes`.
absl::Status CheckSizes(const char* name, size_t bytes, absl::Span<const int64_t> sizes,
                        int ranks) {
  if (sizes.size() != static_cast<size_t>(ranks)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ".sizes must hold ", ranks, " sizes; it holds ", sizes.size()));
  }
  int64_t left = static_cast<int64_t>(bytes);
  for (int64_t size : sizes) {
    if (size < 0 || size > left) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ".sizes must be at least 0 and add up to ", bytes, " bytes"));
    }
    left -= size;
  }
  if (left != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ".sizes must add up to ", bytes, " bytes; ", left, " are missing"));
  }
  return absl::OkStatus();
}

void Copy(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  if (!from.empty() && from.data() != to.data()) std::memcpy(to.data(), from.data(), from.size());
}

}  // namespace

absl::Status PeerGone(int peer) {
  return absl::UnavailableError(absl::StrCat("rank ", peer, " has died or closed its end"));
}

absl::Status PeerLate(int peer) {
  return absl::DeadlineExceededError(
      absl::StrCat("rank ", peer, " did not do its part of an exchange in time"));
}

absl::Status Aborted() { return absl::CancelledError("the communicator was aborted"); }

absl::Status SizesDisagree(int peer, size_t sent, size_t expected) {
  return absl::InternalError(absl::StrCat("rank ", peer, " sent a message of ", sent,
                                          " bytes where ", expected, " were expected"));
}

class ExchangeCommunicator::Pending final : public PendingExchange {
 public:
  Pending(ExchangeCommunicator* owner, absl::Status started)
      : owner_(owner), started_(std::move(started)) {}
  ~Pending() override {
    if (!waited_) {
      owner_->pending_ = false;
      owner_->Fail(absl::InternalError("an exchange was given up before its end")).IgnoreError();
    }
  }

  absl::Status Wait(absl::Time deadline) override {
    TESSERA_CHECK(!waited_) << "an exchange is waited for once";
    waited_ = true;
    owner_->pending_ = false;
    TESSERA_RETURN_IF_ERROR(started_);
    return owner_->Complete(deadline);
  }

 private:
  ExchangeCommunicator* const owner_;
  const absl::Status started_;
  bool waited_ = false;
};

ExchangeCommunicator::ExchangeCommunicator(int rank, int size)
    : rank_(rank), size_(size), barrier_bytes_(size) {
  TESSERA_CHECK(size >= 1 && rank >= 0 && rank < size) << "rank " << rank << " of " << size;
}

std::unique_ptr<PendingExchange> ExchangeCommunicator::StartAllToAllV(const SendParts& send,
                                                                      const RecvParts& receive) {
  TESSERA_CHECK(!pending_) << "an exchange is pending";
  absl::Status started = CheckParts(send, receive);
  if (started.ok()) {
    AddParts(send, receive);
    started = Start();
  } else {
    started = Fail(std::move(started));
  }
  pending_ = true;
  return std::make_unique<Pending>(this, std::move(started));
}

absl::Status ExchangeCommunicator::CheckParts(const SendParts& send,
                                              const RecvParts& receive) const {
  TESSERA_RETURN_IF_ERROR(CheckSizes("send", send.bytes.size(), send.sizes, size_));
  TESSERA_RETURN_IF_ERROR(CheckSizes("receive", receive.bytes.size(), receive.sizes, size_));
  if (send.sizes[rank_] != receive.sizes[rank_]) {
    return absl::InvalidArgumentError(
        absl::StrCat("send.sizes[", rank_, "] must equal receive.sizes[", rank_, "]"));
  }
  return absl::OkStatus();
}

void ExchangeCommunicator::AddParts(const SendParts& send, const RecvParts& receive) {
  int64_t send_offset = 0;
  int64_t receive_offset = 0;
  for (int peer = 0; peer < size_; ++peer) {
    const auto to_peer = send.bytes.subspan(send_offset, send.sizes[peer]);
    const auto from_peer = receive.bytes.subspan(receive_offset, receive.sizes[peer]);
    send_offset += send.sizes[peer];
    receive_offset += receive.sizes[peer];
    if (peer == rank_) {
      Copy(to_peer, from_peer);
      continue;
    }
    if (!to_peer.empty()) out_.push_back({peer, to_peer});
    if (!from_peer.empty()) in_.push_back({peer, from_peer});
  }
}

absl::Status ExchangeCommunicator::Send(int peer, absl::Span<const std::byte> bytes,
                                        absl::Time deadline) {
  if (absl::Status status = CheckPeer(peer); !status.ok()) return Fail(std::move(status));
  if (!bytes.empty()) out_.push_back({peer, bytes});
  return Run(deadline);
}

absl::Status ExchangeCommunicator::Recv(int peer, absl::Span<std::byte> bytes,
                                        absl::Time deadline) {
  if (absl::Status status = CheckPeer(peer); !status.ok()) return Fail(std::move(status));
  if (!bytes.empty()) in_.push_back({peer, bytes});
  return Run(deadline);
}

absl::Status ExchangeCommunicator::CheckPeer(int peer) const {
  if (peer >= 0 && peer < size_ && peer != rank_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("peer must be another rank between 0 and ",
                                                 size_ - 1, "; it is ", peer, " on rank ", rank_));
}

absl::Status ExchangeCommunicator::Broadcast(int root, absl::Span<std::byte> bytes,
                                             absl::Time deadline) {
  if (root < 0 || root >= size_) {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("root must be between 0 and ", size_ - 1, "; it is ", root)));
  }
  if (!bytes.empty()) {
    if (root != rank_) {
      in_.push_back({root, bytes});
    } else {
      for (int peer = 0; peer < size_; ++peer) {
        if (peer != rank_) out_.push_back({peer, bytes});
      }
    }
  }
  return Run(deadline);
}

absl::Status ExchangeCommunicator::AllGather(absl::Span<const std::byte> send,
                                             absl::Span<std::byte> receive, absl::Time deadline) {
  if (receive.size() != send.size() * static_cast<size_t>(size_)) {
    return Fail(absl::InvalidArgumentError(absl::StrCat("receive must hold ",
                                                        send.size() * static_cast<size_t>(size_),
                                                        " bytes; it holds ", receive.size())));
  }
  Copy(send, receive.subspan(rank_ * send.size(), send.size()));
  if (!send.empty()) {
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      out_.push_back({peer, send});
      in_.push_back({peer, receive.subspan(peer * send.size(), send.size())});
    }
  }
  return Run(deadline);
}

absl::Status ExchangeCommunicator::Barrier(absl::Time deadline) {
  // A byte from each to each: one step of latency, where a tree takes two or more.
  const absl::Span<std::byte> bytes = absl::MakeSpan(barrier_bytes_);
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    out_.push_back({peer, bytes.subspan(rank_, 1)});
    in_.push_back({peer, bytes.subspan(peer, 1)});
  }
  return Run(deadline);
}

void ExchangeCommunicator::Abort() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    broken_ = Aborted();
  }
  Close();
}

absl::Status ExchangeCommunicator::Run(absl::Time deadline) {
  TESSERA_CHECK(!pending_) << "an exchange is pending";
  TESSERA_RETURN_IF_ERROR(Start());
  return Complete(deadline);
}

absl::Status ExchangeCommunicator::Start() {
  absl::Status status = Health();
  if (status.ok()) status = Begin(out_, in_);
  return status.ok() ? status : Fail(std::move(status));
}

absl::Status ExchangeCommunicator::Complete(absl::Time deadline) {
  absl::Status status = Health();
  if (status.ok()) status = Finish(deadline);
  if (!status.ok()) return Fail(std::move(status));
  out_.clear();
  in_.clear();
  return status;
}

absl::Status ExchangeCommunicator::Health() {
  std::lock_guard<std::mutex> lock(mutex_);
  return broken_;
}

absl::Status ExchangeCommunicator::Fail(absl::Status reason) {
  absl::Status first;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (broken_.ok()) broken_ = std::move(reason);
    first = broken_;
  }
  Close();
  Release();
  out_.clear();
  in_.clear();
  return first;
}

}  // namespace tessera::transport
