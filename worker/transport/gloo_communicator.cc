// Gloo throws, and names addresses in what it throws: both end in this file.
//
// Where Gloo alone is not enough:
//  - An operation whose bytes are half moved is not told when its connection breaks. So a thread
//    keeps a receive open on every connection; it does hear, and ends the waits for that peer.
//  - A wait that times out closes all connections, hence waits are never cut into slices.
#include "worker/transport/gloo_communicator.h"

#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gloo/transport/context.h"
#include "gloo/transport/device.h"
#include "gloo/transport/tcp/device.h"
#include "services/base/status_macros.h"
#include "worker/transport/exchange_communicator.h"

namespace tessera::transport {
namespace {

using gloo::transport::UnboundBuffer;
using std::chrono::milliseconds;

// Messages between two ranks arrive in order within a slot, so one is enough for all of them.
constexpr uint64_t kMessages = 1;
constexpr uint64_t kWatch = 2;  // nothing is ever sent here
constexpr milliseconds kNever = std::chrono::hours(24 * 365);

// At least a millisecond, since Gloo takes 0 for no limit.
milliseconds Until(absl::Time deadline) {
  const absl::Duration left = std::min(deadline - absl::Now(), absl::Hours(24));
  return std::max(absl::ToChronoMilliseconds(absl::Ceil(left, absl::Milliseconds(1))),
                  milliseconds(1));
}

enum class Outcome { kDone, kFailed, kLate };

// Runs a wait of Gloo, which returns false when another thread has ended it.
template <typename WaitFor>
Outcome WaitUntil(absl::Time deadline, WaitFor wait_for) {
  const milliseconds limit = Until(deadline);
  const auto begin = std::chrono::steady_clock::now();
  try {
    if (wait_for(limit)) return Outcome::kDone;
    // Ended, but perhaps after it was done: only a second call tells.
    return wait_for(milliseconds(1)) ? Outcome::kDone : Outcome::kFailed;
  } catch (const std::exception&) {
    return std::chrono::steady_clock::now() - begin >= limit ? Outcome::kLate : Outcome::kFailed;
  }
}

struct Part {
  int peer;
  bool incoming;
  std::unique_ptr<UnboundBuffer> buffer;

  void EndWait() const { incoming ? buffer->abortWaitRecv() : buffer->abortWaitSend(); }
};

class GlooCommunicator final : public ExchangeCommunicator {
 public:
  // All pairs of `context` are connected.
  explicit GlooCommunicator(std::shared_ptr<gloo::transport::Context> context)
      : ExchangeCommunicator(context->rank, context->size), context_(std::move(context)) {
    watcher_ = std::thread([this] { Watch(); });
  }
  ~GlooCommunicator() override;

 protected:
  absl::Status Begin(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override;
  absl::Status Finish(absl::Time deadline) override;
  void Close() override;
  void Release() override {
    std::lock_guard<std::mutex> lock(mutex_);
    parts_.clear();  // each waits until the loop's thread has let go of its bytes
  }

 private:
  absl::Status Post(const Part& part);
  void Watch();
  bool KeepReceiveOpen(UnboundBuffer& buffer, std::vector<bool>& alive);
  void EndWaitsFor(int peer);
  bool SetSentinel(UnboundBuffer* buffer);

  const std::shared_ptr<gloo::transport::Context> context_;

  std::mutex mutex_;
  // The exchange under way. Guarded by mutex_; changed by the caller's thread alone, which may
  // therefore read it without.
  std::vector<Part> parts_;
  bool closed_ = false;                // guarded by mutex_
  bool stopping_ = false;              // guarded by mutex_
  UnboundBuffer* sentinel_ = nullptr;  // guarded by mutex_: what watcher_ waits for
  std::thread watcher_;
};

GlooCommunicator::~GlooCommunicator() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    if (sentinel_ != nullptr) sentinel_->abortWaitRecv();
  }
  watcher_.join();
  // Without Close unless an exchange is unfinished: Close resets the connections, which could lose
  // bytes that a peer has yet to read.
  if (!parts_.empty()) Close();
  Release();
}

absl::Status GlooCommunicator::Begin(absl::Span<const Outgoing> out,
                                     absl::Span<const Incoming> in) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return Aborted();
    for (const Incoming& part : in) {
      parts_.push_back(
          {part.peer, true, context_->createUnboundBuffer(part.bytes.data(), part.bytes.size())});
    }
    for (const Outgoing& part : out) {
      // Gloo has one kind of buffer for both directions; it only reads from this one.
      parts_.push_back({part.peer, false,
                        context_->createUnboundBuffer(const_cast<std::byte*>(part.bytes.data()),
                                                      part.bytes.size())});
    }
  }
  for (const Part& part : parts_) TESSERA_RETURN_IF_ERROR(Post(part));
  return absl::OkStatus();
}

absl::Status GlooCommunicator::Post(const Part& part) {
  try {
    if (part.incoming) {
      part.buffer->recv(part.peer, kMessages, 0, part.buffer->size);
    } else {
      part.buffer->send(part.peer, kMessages, 0, part.buffer->size);
    }
    return absl::OkStatus();
  } catch (const std::exception&) {
    return PeerGone(part.peer);
  }
}

absl::Status GlooCommunicator::Finish(absl::Time deadline) {
  for (const Part& part : parts_) {
    const Outcome outcome = WaitUntil(deadline, [&part](milliseconds limit) {
      return part.incoming ? part.buffer->waitRecv(nullptr, limit)
                           : part.buffer->waitSend(nullptr, limit);
    });
    if (outcome == Outcome::kLate) return PeerLate(part.peer);
    if (outcome == Outcome::kFailed) return PeerGone(part.peer);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  parts_.clear();
  return absl::OkStatus();
}

void GlooCommunicator::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    for (const Part& part : parts_) part.EndWait();
  }
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    try {
      context_->getPair(peer)->close();
    } catch (const std::exception&) {
      // It is closed, or as good as.
    }
  }
}

void GlooCommunicator::EndWaitsFor(int peer) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Part& part : parts_) {
    if (part.peer == peer) part.EndWait();
  }
}

void GlooCommunicator::Watch() {
  char byte = 0;
  std::vector<bool> alive(size(), true);
  alive[rank()] = false;
  for (bool any = true; any;) {
    const auto buffer = context_->createUnboundBuffer(&byte, sizeof(byte));
    if (!SetSentinel(buffer.get())) return;
    any = KeepReceiveOpen(*buffer, alive);
    try {
      if (any) buffer->waitRecv(nullptr, kNever);
    } catch (const std::exception&) {
      // A peer is gone; the next round finds out which.
    }
    if (!SetSentinel(nullptr)) return;
  }
}

// A connection that has broken refuses. Ends the waits for its peer; false: none is left.
bool GlooCommunicator::KeepReceiveOpen(UnboundBuffer& buffer, std::vector<bool>& alive) {
  for (int peer = 0; peer < size(); ++peer) {
    if (!alive[peer]) continue;
    try {
      buffer.recv(peer, kWatch, 0, buffer.size);
    } catch (const std::exception&) {
      alive[peer] = false;
      EndWaitsFor(peer);
    }
  }
  return std::find(alive.begin(), alive.end(), true) != alive.end();
}

// False: this is being destroyed.
bool GlooCommunicator::SetSentinel(UnboundBuffer* buffer) {
  std::lock_guard<std::mutex> lock(mutex_);
  sentinel_ = buffer;
  return !stopping_;
}

// A number, since Gloo does not check its own look-up of names.
absl::StatusOr<gloo::transport::tcp::attr> BindTo(const std::string& host) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string name = host.empty() ? "127.0.0.1" : host;
  if (getaddrinfo(name.c_str(), nullptr, &hints, &found) != 0) {
    return absl::UnavailableError("the host that this rank is to be reached by has no address");
  }
  char address[NI_MAXHOST];
  const int failed = getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof(address),
                                 nullptr, 0, NI_NUMERICHOST);
  gloo::transport::tcp::attr result(failed == 0 ? address : "");
  result.ai_family = found->ai_family;
  freeaddrinfo(found);
  if (failed != 0) {
    return absl::UnavailableError("the host that this rank is to be reached by has no address");
  }
  return result;
}

// The addresses of one rank's pairs by peer, as text and back: all have one length, which comes
// first.
constexpr size_t kAddressBytes = gloo::transport::Address::kMaxByteSize;

absl::StatusOr<std::string> OpenPairs(gloo::transport::Context& context) {
  std::string addresses;
  for (int peer = 0; peer < context.size; ++peer) {
    std::string address(1 + kAddressBytes, '\0');
    if (peer != context.rank) {
      const std::vector<char> bytes = context.createPair(peer)->address().bytes();
      if (bytes.size() > kAddressBytes) return absl::InternalError("an address is too long");
      address[0] = static_cast<char>(bytes.size());
      std::copy(bytes.begin(), bytes.end(), address.begin() + 1);
    }
    addresses += address;
  }
  return addresses;
}

absl::Status ConnectPairs(gloo::transport::Context& context,
                          const std::vector<std::string>& addresses, absl::Time deadline) {
  for (int peer = 0; peer < context.size; ++peer) {
    if (peer == context.rank) continue;
    const std::string_view all = addresses[peer];
    if (all.size() != context.size * (1 + kAddressBytes)) {
      return absl::InternalError(absl::StrCat("rank ", peer, " sent no addresses"));
    }
    const std::string_view entry = all.substr(context.rank * (1 + kAddressBytes));
    const std::string_view mine = entry.substr(1, static_cast<unsigned char>(entry[0]));
    try {
      context.getPair(peer)->connect(std::vector<char>(mine.begin(), mine.end()));
    } catch (const std::exception&) {
      return absl::Now() >= deadline ? PeerLate(peer) : PeerGone(peer);
    }
  }
  return absl::OkStatus();
}

void IgnoreBrokenPipes() {
  struct sigaction action = {};
  if (sigaction(SIGPIPE, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) return;
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectGloo(const ConnectOptions& options) {
  IgnoreBrokenPipes();
  TESSERA_ASSIGN_OR_RETURN(const gloo::transport::tcp::attr attributes, BindTo(options.bind_host));
  std::shared_ptr<gloo::transport::Context> context;
  std::string mine;
  try {
    auto device = gloo::transport::tcp::CreateDevice(attributes);
    context = device->createContext(options.rank, options.size);
    // Gloo waits five times as long for a connection.
    context->setTimeout(std::max(Until(options.deadline) / 5, milliseconds(1)));
    TESSERA_ASSIGN_OR_RETURN(mine, OpenPairs(*context));
  } catch (const std::exception&) {
    return absl::UnavailableError("this rank cannot listen where others are to reach it");
  }
  TESSERA_ASSIGN_OR_RETURN(
      const std::vector<std::string> addresses,
      options.rendezvous(absl::StrCat(options.round, "/gloo/addresses"), mine, options.deadline));
  TESSERA_RETURN_IF_ERROR(ConnectPairs(*context, addresses, options.deadline));
  return std::make_unique<GlooCommunicator>(std::move(context));
}

}  // namespace tessera::transport
