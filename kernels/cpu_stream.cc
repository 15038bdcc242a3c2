#include "kernels/cpu_stream.h"

#include <cstdlib>
#include <memory>

#include "kernels/check.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"

namespace tessera::kernels {
namespace {

class CpuStream : public Stream {
 public:
  explicit CpuStream(ThreadPool& pool) : pool_(pool) {}
  ~CpuStream() override {
    for (Buffer& buffer : buffers_) std::free(buffer.data);
  }

  ThreadPool& pool() { return pool_; }
  const ThreadPool& pool() const { return pool_; }

  void* Scratch(ScratchSlot slot, int64_t bytes) {
    Buffer& buffer = buffers_[static_cast<int>(slot)];
    if (buffer.bytes < bytes) {
      std::free(buffer.data);
      constexpr int64_t kGrain = 64 * 1024;
      buffer.bytes = (bytes + kGrain - 1) / kGrain * kGrain;
      buffer.data = std::aligned_alloc(64, static_cast<size_t>(buffer.bytes));
      KERNEL_CHECK(buffer.data != nullptr);
    }
    return buffer.data;
  }

 private:
  struct Buffer {
    void* data = nullptr;
    int64_t bytes = 0;
  };

  ThreadPool& pool_;
  Buffer buffers_[kNumScratchSlots];
};

}  // namespace

int StreamThreads(const Stream& stream) {
  return static_cast<const CpuStream&>(stream).pool().num_threads();
}

void StreamRunOnAll(Stream& stream, void (*body)(void* context, int worker), void* context) {
  static_cast<CpuStream&>(stream).pool().RunOnAll(body, context);
}

void* StreamScratch(Stream& stream, ScratchSlot slot, int64_t bytes) {
  return static_cast<CpuStream&>(stream).Scratch(slot, bytes);
}

std::unique_ptr<Stream> MakeCpuStream(ThreadPool& pool) {
  return std::make_unique<CpuStream>(pool);
}

}  // namespace tessera::kernels
