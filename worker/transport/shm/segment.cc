#include "worker/transport/shm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tessera::transport {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHeaderBytes = kPage;
static_assert(sizeof(SegmentHeader) <= kHeaderBytes);
constexpr size_t kRingStride = (sizeof(ByteRing) + kPage - 1) / kPage * kPage;
// Without them a peer that shrinks the file would end this process by a signal.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

size_t SizeFor(int ranks) { return kHeaderBytes + ranks * kRingStride; }

absl::Status SystemError(const char* what) {
  return absl::UnavailableError(absl::StrCat("shared memory: ", what, ": ", std::strerror(errno)));
}

// The boot's id and the process namespace's; empty where the system does not tell.
std::string HostId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  char name[64] = {};
  const ssize_t size = readlink("/proc/self/ns/pid", name, sizeof(name) - 1);
  if (boot.empty() || size <= 0) return "";
  return absl::StrCat(boot, "/", name);
}

}  // namespace

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void OwnedFd::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::string SegmentAddress::ToText() const {
  const std::string bytes(reinterpret_cast<const char*>(token.data()), token.size());
  return absl::StrCat(host, " ", pid, " ", fd, " ", absl::BytesToHexString(bytes));
}

absl::StatusOr<SegmentAddress> SegmentAddress::FromText(std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(std::string(text), ' ');
  SegmentAddress address;
  if (parts.size() != 4 || parts[0].empty() || !absl::SimpleAtoi(parts[1], &address.pid) ||
      !absl::SimpleAtoi(parts[2], &address.fd) || parts[3].size() != 2 * address.token.size()) {
    return absl::UnavailableError("a rank offers no shared memory");
  }
  address.host = parts[0];
  const std::string bytes = absl::HexStringToBytes(parts[3]);
  std::memcpy(address.token.data(), bytes.data(), address.token.size());
  return address;
}

Segment::~Segment() {
  if (memory_ != nullptr) munmap(memory_, size_);
}

void Segment::Swap(Segment& other) {
  std::swap(file_, other.file_);
  std::swap(memory_, other.memory_);
  std::swap(size_, other.size_);
}

ByteRing* Segment::ring_from(int rank) const {
  return reinterpret_cast<ByteRing*>(static_cast<std::byte*>(memory_) + kHeaderBytes +
                                     rank * kRingStride);
}

absl::StatusOr<Segment> Segment::Create(int ranks, SegmentAddress* address) {
  Segment segment;
  segment.size_ = SizeFor(ranks);
  segment.file_ = OwnedFd(memfd_create("tessera-transport", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (segment.file_.get() < 0) return SystemError("memfd_create");
  if (ftruncate(segment.file_.get(), segment.size_) != 0) return SystemError("ftruncate");
  if (fcntl(segment.file_.get(), F_ADD_SEALS, kSeals) != 0) return SystemError("sealing");
  void* memory =
      mmap(nullptr, segment.size_, PROT_READ | PROT_WRITE, MAP_SHARED, segment.file_.get(), 0);
  if (memory == MAP_FAILED) return SystemError("mmap");
  segment.memory_ = memory;
  address->host = HostId();
  address->pid = getpid();
  address->fd = segment.file_.get();
  if (getrandom(address->token.data(), address->token.size(), 0) !=
      static_cast<ssize_t>(address->token.size())) {
    return SystemError("getrandom");
  }
  segment.header().token = address->token;
  return segment;
}

absl::StatusOr<Segment> Segment::Open(int ranks, const SegmentAddress& address) {
  if (address.host != HostId()) return absl::UnavailableError("a rank is on another host");
  const std::string path = absl::StrCat("/proc/", address.pid, "/fd/", address.fd);
  const OwnedFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (file.get() < 0) return SystemError("opening a peer's memory");
  struct stat found = {};
  Segment segment;
  segment.size_ = SizeFor(ranks);
  if (fstat(file.get(), &found) != 0) return SystemError("fstat");
  // A process may have another file under this number by now: only a sealed one is mapped.
  if ((fcntl(file.get(), F_GET_SEALS) & kSeals) != kSeals ||
      found.st_size != static_cast<off_t>(segment.size_)) {
    return absl::UnavailableError("a peer's shared memory is not what it says");
  }
  void* memory = mmap(nullptr, segment.size_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return SystemError("mmap");
  segment.memory_ = memory;
  if (segment.header().token != address.token) {
    return absl::UnavailableError("a peer's shared memory is not what it says");
  }
  return segment;
}

}  // namespace tessera::transport
