// Ranks as threads: a sender shows its bytes in a mailbox, the receiver copies them from there. An
// exchange ends when all that was shown has been taken, so nothing is buffered.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "services/base/status_macros.h"
#include "worker/transport/exchange_communicator.h"
#include "worker/transport/transport.h"

namespace tessera::transport {
namespace {

// What one rank shows to one other. Guarded by Hub::mutex.
struct Mailbox {
  enum class State { kEmpty, kShown, kBeingCopied };
  State state = State::kEmpty;
  absl::Span<const std::byte> bytes;
};

struct Hub {
  explicit Hub(int size) : size(size), mailboxes(size * size), changed(size), closed(size, false) {}

  Mailbox& Box(int from, int to) { return mailboxes[from * size + to]; }

  const int size;
  std::mutex mutex;
  std::vector<Mailbox> mailboxes;                // [from, to]
  std::vector<std::condition_variable> changed;  // by the rank that is to look again
  std::vector<bool> closed;
};

class InProcessCommunicator final : public ExchangeCommunicator {
 public:
  InProcessCommunicator(int rank, std::shared_ptr<Hub> hub)
      : ExchangeCommunicator(rank, hub->size), hub_(std::move(hub)) {}
  ~InProcessCommunicator() override {
    Close();
    Release();
  }

 protected:
  absl::Status Begin(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override;
  absl::Status Finish(absl::Time deadline) override;
  void Close() override;
  void Release() override;

 private:
  // The functions below are called with the hub's mutex held.
  absl::Status TakeWhatIsShown(std::unique_lock<std::mutex>& lock);
  int FirstLatePeer();  // -1: none, all is done
  absl::Status FirstGonePeer();

  const std::shared_ptr<Hub> hub_;
  absl::Span<const Outgoing> out_;
  std::vector<Incoming> missing_;  // not received yet
};

absl::Status InProcessCommunicator::Begin(absl::Span<const Outgoing> out,
                                          absl::Span<const Incoming> in) {
  std::lock_guard<std::mutex> lock(hub_->mutex);
  if (hub_->closed[rank()]) return Aborted();
  out_ = out;
  missing_.assign(in.begin(), in.end());
  for (const Outgoing& part : out_) {
    Mailbox& box = hub_->Box(rank(), part.peer);
    box.bytes = part.bytes;
    box.state = Mailbox::State::kShown;
    hub_->changed[part.peer].notify_one();
  }
  return absl::OkStatus();
}

absl::Status InProcessCommunicator::Finish(absl::Time deadline) {
  // An unbounded wait overflows the clock's type in some libraries.
  constexpr absl::Duration kLongestWait = absl::Hours(1);
  std::unique_lock<std::mutex> lock(hub_->mutex);
  while (true) {
    TESSERA_RETURN_IF_ERROR(TakeWhatIsShown(lock));
    if (hub_->closed[rank()]) return Aborted();
    const int late = FirstLatePeer();
    if (late < 0) return absl::OkStatus();
    TESSERA_RETURN_IF_ERROR(FirstGonePeer());
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return PeerLate(late);
    hub_->changed[rank()].wait_for(lock, absl::ToChronoMicroseconds(std::min(left, kLongestWait)) +
                                             std::chrono::microseconds(1));
  }
}

absl::Status InProcessCommunicator::TakeWhatIsShown(std::unique_lock<std::mutex>& lock) {
  for (bool again = true; again;) {
    again = false;  // what was shown while the lock was open
    for (size_t i = 0; i < missing_.size();) {
      const Incoming part = missing_[i];
      Mailbox& box = hub_->Box(part.peer, rank());
      if (box.state != Mailbox::State::kShown) {
        ++i;
        continue;
      }
      if (box.bytes.size() != part.bytes.size()) {
        return SizesDisagree(part.peer, box.bytes.size(), part.bytes.size());
      }
      box.state = Mailbox::State::kBeingCopied;
      lock.unlock();
      std::memcpy(part.bytes.data(), box.bytes.data(), part.bytes.size());
      lock.lock();
      box.state = Mailbox::State::kEmpty;
      hub_->changed[part.peer].notify_one();
      missing_.erase(missing_.begin() + i);
      again = true;
    }
  }
  return absl::OkStatus();
}

int InProcessCommunicator::FirstLatePeer() {
  if (!missing_.empty()) return missing_.front().peer;
  for (const Outgoing& part : out_) {
    if (hub_->Box(rank(), part.peer).state != Mailbox::State::kEmpty) return part.peer;
  }
  return -1;
}

absl::Status InProcessCommunicator::FirstGonePeer() {
  for (const Incoming& part : missing_) {
    if (hub_->closed[part.peer]) return PeerGone(part.peer);
  }
  for (const Outgoing& part : out_) {
    if (hub_->closed[part.peer] && hub_->Box(rank(), part.peer).state != Mailbox::State::kEmpty) {
      return PeerGone(part.peer);
    }
  }
  return absl::OkStatus();
}

void InProcessCommunicator::Close() {
  std::lock_guard<std::mutex> lock(hub_->mutex);
  hub_->closed[rank()] = true;
  for (std::condition_variable& changed : hub_->changed) changed.notify_all();
}

void InProcessCommunicator::Release() {
  std::unique_lock<std::mutex> lock(hub_->mutex);
  for (int peer = 0; peer < size(); ++peer) {
    Mailbox& box = hub_->Box(rank(), peer);
    hub_->changed[rank()].wait(lock, [&] { return box.state != Mailbox::State::kBeingCopied; });
    box.state = Mailbox::State::kEmpty;
  }
  out_ = {};
  missing_.clear();
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeInProcess(int size) {
  auto hub = std::make_shared<Hub>(size);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.push_back(std::make_unique<InProcessCommunicator>(rank, hub));
  }
  return ranks;
}

}  // namespace tessera::transport
