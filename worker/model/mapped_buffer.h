// Anonymous memory straight from the kernel, in huge pages where it gives them.
#ifndef TESSERA_WORKER_MODEL_MAPPED_BUFFER_H_
#define TESSERA_WORKER_MODEL_MAPPED_BUFFER_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace tessera::model {

// Movable owner of one mapping. Zero-filled; pages are taken when first written.
class MappedBuffer {
 public:
  MappedBuffer() = default;
  MappedBuffer(MappedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MappedBuffer& operator=(MappedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedBuffer();

  // RESOURCE_EXHAUSTED names the size that could not be had. bytes >= 1; data() is 2 MiB aligned if
  // bytes is 2 MiB or more.
  static absl::StatusOr<MappedBuffer> Create(int64_t bytes);

  // bytes rounded up to whole pages of the smallest size.
  static int64_t WholePages(int64_t bytes);

  // Gives whole pages back to the system; they read as zeros from then on. data and bytes: inside
  // the buffer, multiples of a page.
  void Discard(void* data, int64_t bytes);

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_MAPPED_BUFFER_H_
