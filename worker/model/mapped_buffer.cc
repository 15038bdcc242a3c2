#include "worker/model/mapped_buffer.h"

#include <sys/mman.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/check.h"

namespace tessera::model {
namespace {

constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kPage = 4096;

}  // namespace

MappedBuffer::~MappedBuffer() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

absl::StatusOr<MappedBuffer> MappedBuffer::Create(int64_t bytes) {
  const int64_t alignment = bytes >= kHugePage ? kHugePage : kPage;
  const int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
  const int64_t reserved = rounded + (alignment == kHugePage ? kHugePage : 0);
  void* mapped = mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("memory: ", bytes, " bytes cannot be mapped"));
  }
  // Cut the reservation down to its aligned part.
  auto* begin = static_cast<uint8_t*>(mapped);
  const int64_t lead =
      (alignment - static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin) % alignment)) %
      alignment;
  if (lead > 0) munmap(begin, lead);
  const int64_t tail = reserved - lead - rounded;
  if (tail > 0) munmap(begin + lead + rounded, tail);
  MappedBuffer buffer;
  buffer.data_ = begin + lead;
  buffer.bytes_ = rounded;
  if (alignment == kHugePage)
    madvise(buffer.data_, rounded, MADV_HUGEPAGE);  // advice only: a refusal costs speed
  return buffer;
}

int64_t MappedBuffer::WholePages(int64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void MappedBuffer::Discard(void* data, int64_t bytes) {
  auto* first = static_cast<uint8_t*>(data);
  TESSERA_CHECK(first >= data_ && first + bytes <= static_cast<uint8_t*>(data_) + bytes_)
      << "outside of the buffer";
  // Only this advice promises zeros and memory at once; the kernel refuses it for ranges that are
  // not pages of a mapping, which these are.
  TESSERA_CHECK(madvise(data, bytes, MADV_DONTNEED) == 0) << "pages cannot be given back";
}

}  // namespace tessera::model
