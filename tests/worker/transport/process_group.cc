#include "tests/worker/transport/process_group.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/time/clock.h"
#include "services/base/check.h"
#include "services/base/status_macros.h"

namespace tessera::transport {
namespace {

absl::StatusOr<std::string> Receive(int end, absl::Time deadline) {
  pollfd readable = {.fd = end, .events = POLLIN, .revents = 0};
  const absl::Duration left =
      std::clamp(deadline - absl::Now(), absl::ZeroDuration(), absl::Minutes(1));
  if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) <= 0) {
    return absl::DeadlineExceededError("a member did not come");
  }
  std::string packet(1 << 16, '\0');
  const ssize_t size = recv(end, packet.data(), packet.size(), 0);
  if (size <= 0) return absl::AbortedError("a member has ended");
  packet.resize(size);
  return packet;
}

absl::Status SendPacket(int end, const std::string& packet) {
  const ssize_t size = send(end, packet.data(), packet.size(), MSG_NOSIGNAL);
  return size == static_cast<ssize_t>(packet.size()) ? absl::OkStatus()
                                                     : absl::AbortedError("a member has ended");
}

// One byte more than was given, since an empty packet looks like an end.
std::string Packed(std::string_view text) { return "." + std::string(text); }

}  // namespace

ProcessGroup::ProcessGroup(int size) : size_(size), hub_ends_(size, -1), ends_(size, -1) {
  for (int rank = 1; rank < size; ++rank) {
    int pair[2];
    TESSERA_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    hub_ends_[rank] = pair[0];
    ends_[rank] = pair[1];
  }
}

ProcessGroup::~ProcessGroup() {
  for (pid_t process : processes_) kill(process, SIGKILL);
  for (pid_t process : processes_) waitpid(process, nullptr, 0);
  for (int rank = 1; rank < size_; ++rank) {
    close(hub_ends_[rank]);
    close(ends_[rank]);
  }
}

pid_t ProcessGroup::Fork(const std::function<int()>& body) {
  const pid_t process = fork();
  TESSERA_CHECK(process >= 0);
  if (process == 0) _exit(body());
  processes_.push_back(process);
  return process;
}

int ProcessGroup::Join(pid_t process) {
  int status = 0;
  TESSERA_CHECK(waitpid(process, &status, 0) == process);
  processes_.erase(std::find(processes_.begin(), processes_.end(), process));
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Rendezvous ProcessGroup::ForRank(int rank) {
  return [this, rank](std::string_view round, std::string_view mine, absl::Time deadline) {
    return rank == 0 ? Gather(mine, deadline) : Join(rank, mine, deadline);
  };
}

// The answer to each: the parts of all, each after its size in 4 bytes.
absl::StatusOr<std::vector<std::string>> ProcessGroup::Gather(std::string_view mine,
                                                              absl::Time deadline) {
  std::vector<std::string> all = {std::string(mine)};
  for (int rank = 1; rank < size_; ++rank) {
    TESSERA_ASSIGN_OR_RETURN(const std::string packet, Receive(hub_ends_[rank], deadline));
    all.push_back(packet.substr(1));
  }
  std::string answer;
  for (const std::string& part : all) {
    const auto size = static_cast<uint32_t>(part.size());
    answer.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(part);
  }
  for (int rank = 1; rank < size_; ++rank) {
    TESSERA_RETURN_IF_ERROR(SendPacket(hub_ends_[rank], answer));
  }
  return all;
}

absl::StatusOr<std::vector<std::string>> ProcessGroup::Join(int rank, std::string_view mine,
                                                            absl::Time deadline) {
  TESSERA_RETURN_IF_ERROR(SendPacket(ends_[rank], Packed(mine)));
  TESSERA_ASSIGN_OR_RETURN(const std::string answer, Receive(ends_[rank], deadline));
  std::vector<std::string> all;
  for (size_t at = 0; at < answer.size();) {
    uint32_t size = 0;
    std::memcpy(&size, answer.data() + at, sizeof(size));
    all.push_back(answer.substr(at + sizeof(size), size));
    at += sizeof(size) + size;
  }
  return all;
}

}  // namespace tessera::transport
