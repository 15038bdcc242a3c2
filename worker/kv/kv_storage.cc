#include <sys/mman.h>

#include <cstddef>
#include <vector>

#include "services/base/check.h"
#include "worker/kv/kv.h"

namespace tessera::kv {

struct KvStorage::State {
  std::vector<kernels::PagedKv> layers;
  size_t layer_bytes = 0;
};

KvStorage::KvStorage(const model::KvLayout& layout, int64_t block_size_tokens, int64_t num_blocks)
    : state_(std::make_unique<State>()) {
  TESSERA_CHECK(block_size_tokens > 0 && num_blocks > 0 && layout.num_layers > 0);
  const int64_t block_bytes = layout.BlockBytes(block_size_tokens);
  state_->layer_bytes = static_cast<size_t>(block_bytes) * static_cast<size_t>(num_blocks);
  for (int64_t layer = 0; layer < layout.num_layers; ++layer) {
    // Pages come as zeros when they are first touched: a large budget costs memory only as it is
    // used, and start-up does not wait for it.
    void* data = mmap(nullptr, state_->layer_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TESSERA_CHECK(data != MAP_FAILED)
        << "no address space for " << state_->layer_bytes << " bytes of KV cache";
    state_->layers.push_back({data, layout.dtype, num_blocks, block_size_tokens, block_bytes});
  }
}

KvStorage::~KvStorage() {
  for (const kernels::PagedKv& layer : state_->layers) munmap(layer.data, state_->layer_bytes);
}

absl::Span<const kernels::PagedKv> KvStorage::layers() const { return state_->layers; }

}  // namespace tessera::kv
