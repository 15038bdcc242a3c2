// One gemm call: packs the inputs once, cuts all items into chunks of equal cost at panel borders,
// and lets the threads work through them. How the work is cut never changes a sum.
#ifndef TESSERA_KERNELS_GEMM_GEMM_DRIVER_H_
#define TESSERA_KERNELS_GEMM_GEMM_DRIVER_H_

#include <cstdint>

#include "kernels/cpu_stream.h"
#include "kernels/gemm/gemm_checks.h"
#include "kernels/gemm/microkernel.h"
#include "kernels/gemm/packed_layout.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

template <typename P>
struct ItemPlan {
  const GemmItem* item;
  typename P::Input* input;  // packed, tile by tile; at input_begin of the call's scratch
  int64_t input_begin;
  int64_t rows;
  int64_t steps;
  int64_t panels;
  int64_t num_tiles;  // row tiles, of sizes that differ by one at most
  bool split_rows;    // units are row tiles, not panels
  int64_t first_cost;
  int64_t unit_cost;

  int64_t units() const { return split_rows ? num_tiles : panels; }
  int64_t TileBegin(int64_t tile) const { return rows * tile / num_tiles; }
  int64_t InputUnits() const { return rows * steps * P::kSubsteps; }
  typename P::Input* TileInput(int64_t tile) const {
    return input + TileBegin(tile) * steps * P::kSubsteps;
  }
};

template <typename P>
struct GemmPlan {
  ItemPlan<P>* items;
  int64_t num_items;
  int64_t total_cost;
  int64_t chunks_per_thread;
  int64_t threads;
  int64_t* next_chunk;  // one counter per thread, 64 bytes apart
};

// Rows of a block of tiles that share a pass over the weight: their packed inputs stay in the L2
// cache, or at worst in the L3 cache where k is long.
constexpr int64_t kBlockInputBytes = 320 * 1024;
constexpr int64_t kMinBlockRows = 48;
constexpr int64_t kMaxBlockRows = 128;
// Lines read ahead in each panel.
constexpr int64_t kAheadLines = 24;
// A weight read once costs about as much as this many rows of arithmetic.
constexpr int64_t kMemoryBoundRows = 4;

template <typename P>
void PackItemTile(const ItemPlan<P>& plan, int64_t tile) {
  const GemmItem& item = *plan.item;
  const int64_t first = plan.TileBegin(tile);
  const auto read = [&](int r) {
    const int64_t row = first + r;
    return item.x.row(item.x_rows != nullptr ? item.x_rows[row] : row);
  };
  const int rows = static_cast<int>(plan.TileBegin(tile + 1) - first);
  PackTile<P>(rows, read, item.weight->k, plan.TileInput(tile));
}

// The product of row tiles [tile_begin, tile_end) with a group of `group` panels from `panel`.
template <typename P>
struct PanelGroup {
  const ItemPlan<P>& plan;
  int64_t panel;
  int group;

  void Multiply(int64_t tile_begin, int64_t tile_end) const {
    const GemmItem& item = *plan.item;
    const int64_t col = panel * kPanelCols;
    const int64_t cols = item.y.cols - col;
    if (cols >= group * kPanelCols) {
      const float* bias = item.bias != nullptr ? item.bias + col : nullptr;
      MultiplyInto(tile_begin, tile_end, item.y.row(plan.TileBegin(tile_begin)) + col,
                   item.y.stride, bias);
      return;
    }
    // The last panel is wider than y: its sums go to a buffer first. Only single panels come here.
    float edge[kMaxBlockRows * kPanelCols];
    float edge_bias[kPanelCols] = {};
    if (item.bias != nullptr) {
      for (int64_t c = 0; c < cols; ++c) edge_bias[c] = item.bias[col + c];
    }
    MultiplyInto(tile_begin, tile_end, edge, kPanelCols,
                 item.bias != nullptr ? edge_bias : nullptr);
    const int64_t first = plan.TileBegin(tile_begin);
    for (int64_t row = first; row < plan.TileBegin(tile_end); ++row) {
      for (int64_t c = 0; c < cols; ++c) {
        item.y.row(row)[col + c] = edge[(row - first) * kPanelCols + c];
      }
    }
  }

  // Slices of k whose weights stay in the L1 cache while the tiles pass over them; sums wait in
  // `out` between slices, exactly.
  void MultiplyInto(int64_t tile_begin, int64_t tile_end, float* out, int64_t out_stride,
                    const float* bias) const {
    using S = typename P::Simd;
    const int64_t panel_units = plan.steps * kLineUnits;
    const uint32_t* weights =
        static_cast<const uint32_t*>(plan.item->weight->data) + panel * panel_units;
    const bool reuse = tile_end - tile_begin > 1;
    const int64_t slice = reuse ? S::kSliceBytes / (64 * group) : plan.steps;
    const int64_t first_row = plan.TileBegin(tile_begin);
    int64_t begin = 0;
    do {  // once also for k = 0, which writes zeros
      const int64_t steps = plan.steps - begin < slice ? plan.steps - begin : slice;
      const bool last = begin + steps == plan.steps;
      for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
        const int64_t row = plan.TileBegin(tile);
        const int rows = static_cast<int>(plan.TileBegin(tile + 1) - row);
        TileArgs<P> args;
        args.input = plan.TileInput(tile) + begin * rows * P::kSubsteps;
        args.weights = weights + begin * kLineUnits;
        args.panel_units = panel_units;
        args.steps = steps;
        args.out = out + (row - first_row) * out_stride;
        args.out_stride = out_stride;
        args.accumulate = begin > 0;
        args.bias = last ? bias : nullptr;
        args.ahead = tile == tile_begin ? kAheadLines : 0;
        args.group_ahead_units = last && tile == tile_begin ? (group - 1) * panel_units : 0;
        FindTile<P>(rows, group)(args);
      }
      begin += steps;
    } while (begin < plan.steps);
  }
};

template <typename P>
int64_t BlockRows(const ItemPlan<P>& plan) {
  const int64_t row_bytes = plan.steps * P::kSubsteps * 4;
  const int64_t rows = row_bytes > 0 ? kBlockInputBytes / row_bytes : kMaxBlockRows;
  return rows < kMinBlockRows ? kMinBlockRows : rows > kMaxBlockRows ? kMaxBlockRows : rows;
}

template <typename P>
void MultiplyUnits(const ItemPlan<P>& plan, int64_t begin, int64_t end) {
  const int64_t panel_begin = plan.split_rows ? 0 : begin;
  const int64_t panel_end = plan.split_rows ? plan.panels : end;
  const int64_t tile_begin = plan.split_rows ? begin : 0;
  const int64_t tile_end = plan.split_rows ? end : plan.num_tiles;
  const int64_t largest = (plan.rows + plan.num_tiles - 1) / plan.num_tiles;
  const int64_t block_tiles = BlockRows<P>(plan) / largest > 0 ? BlockRows<P>(plan) / largest : 1;
  // A single tile takes as many panels as fit the registers; tiles of mixed sizes a common number.
  constexpr int kCommon = PanelsFor<P>(P::Simd::kTileRows);
  const int wide = plan.num_tiles == 1 ? PanelsFor<P>(static_cast<int>(plan.rows)) : kCommon;
  const int64_t full_panels = plan.item->y.cols / kPanelCols;
  for (int64_t tile = tile_begin; tile < tile_end; tile += block_tiles) {
    const int64_t block_end = tile + block_tiles < tile_end ? tile + block_tiles : tile_end;
    for (int64_t panel = panel_begin; panel < panel_end;) {
      const int64_t end_of_full = panel_end < full_panels ? panel_end : full_panels;
      const int64_t left = end_of_full - panel;
      const int group = left >= wide ? wide : left >= kCommon ? kCommon : 1;
      PanelGroup<P>{plan, panel, group}.Multiply(tile, block_end);
      panel += group;
    }
  }
}

// Chunk `chunk` of `num_chunks` of the whole call's cost; an item's unit belongs to the chunk in
// which its cost begins.
template <typename P>
void MultiplyChunk(const GemmPlan<P>& plan, int64_t chunk, int64_t num_chunks) {
  const int64_t low = plan.total_cost / num_chunks * chunk;
  const int64_t high =
      chunk + 1 == num_chunks ? plan.total_cost : plan.total_cost / num_chunks * (chunk + 1);
  for (int64_t i = 0; i < plan.num_items; ++i) {
    const ItemPlan<P>& item = plan.items[i];
    if (item.first_cost >= high) return;
    const auto unit_at = [&](int64_t cost) {
      const int64_t inside = cost - item.first_cost;
      if (inside <= 0) return int64_t{0};
      const int64_t unit = (inside + item.unit_cost - 1) / item.unit_cost;
      return unit < item.units() ? unit : item.units();
    };
    const int64_t begin = unit_at(low);
    const int64_t end = unit_at(high);
    if (begin < end) MultiplyUnits(item, begin, end);
  }
}

// A worker takes the chunks of its own part in order, each one long stream through the weights,
// and then helps the others, so that a thread that lost its CPU delays nobody by much.
template <typename P>
void RunGemmWorker(void* context, int worker) {
  const auto& plan = *static_cast<const GemmPlan<P>*>(context);
  const int64_t num_chunks = plan.threads * plan.chunks_per_thread;
  for (int64_t i = 0; i < plan.threads; ++i) {
    const int64_t owner = (worker + i) % plan.threads;
    for (;;) {
      const int64_t taken = __atomic_fetch_add(plan.next_chunk + owner * 8, 1, __ATOMIC_RELAXED);
      if (taken >= plan.chunks_per_thread) break;
      MultiplyChunk(plan, owner * plan.chunks_per_thread + taken, num_chunks);
    }
  }
}

// Fills the plans of the items that have work; returns the packed inputs' size in units.
template <typename P>
int64_t PlanItems(const GemmItem* items, int64_t num_items, int64_t threads, GemmPlan<P>& plan) {
  int64_t input_units = 0;
  for (int64_t i = 0; i < num_items; ++i) {
    const GemmItem& item = items[i];
    if (item.y.rows == 0 || item.y.cols == 0) continue;
    ItemPlan<P>& out = plan.items[plan.num_items++];
    out.item = &item;
    out.rows = item.y.rows;
    out.steps = (item.weight->k + P::kElementsPerStep - 1) / P::kElementsPerStep;
    out.panels = NumPanels(item.weight->n);
    out.num_tiles = (out.rows + P::Simd::kTileRows - 1) / P::Simd::kTileRows;
    out.split_rows = out.panels < 4 * threads && out.num_tiles > out.panels;
    const int64_t cost_rows = out.rows > kMemoryBoundRows ? out.rows : kMemoryBoundRows;
    const int64_t item_cost = cost_rows * (out.steps + 1) * out.panels;
    out.unit_cost = item_cost / out.units() + 1;
    out.first_cost = plan.total_cost;
    plan.total_cost += out.unit_cost * out.units();
    out.input_begin = input_units;
    input_units += (out.InputUnits() + 15) / 16 * 16;
  }
  return input_units;
}

template <typename P>
void PackInputs(Stream& stream, const GemmPlan<P>& plan, int64_t input_units) {
  constexpr int64_t kSerialUnits = 32 * 1024;
  for (int64_t i = 0; i < plan.num_items; ++i) {
    const ItemPlan<P>& item = plan.items[i];
    if (input_units <= kSerialUnits) {
      for (int64_t tile = 0; tile < item.num_tiles; ++tile) PackItemTile(item, tile);
    }
  }
  if (input_units <= kSerialUnits) return;
  int64_t total_tiles = 0;
  for (int64_t i = 0; i < plan.num_items; ++i) total_tiles += plan.items[i].num_tiles;
  ParallelRanges(stream, total_tiles, kSerialUnits, [&](int64_t begin, int64_t end, int) {
    int64_t first = 0;
    for (int64_t i = 0; i < plan.num_items && first < end; ++i) {
      const ItemPlan<P>& item = plan.items[i];
      const int64_t from = begin > first ? begin - first : 0;
      const int64_t to = end - first < item.num_tiles ? end - first : item.num_tiles;
      for (int64_t tile = from; tile < to; ++tile) PackItemTile(item, tile);
      first += item.num_tiles;
    }
  });
}

template <typename P>
void RunGemm(Stream& stream, const GemmItem* items, int64_t num_items) {
  const int64_t threads = StreamThreads(stream);
  const int64_t plan_bytes = num_items * static_cast<int64_t>(sizeof(ItemPlan<P>));
  char* memory =
      static_cast<char*>(StreamScratch(stream, ScratchSlot::kPlan, threads * 64 + plan_bytes));
  GemmPlan<P> plan{};
  plan.next_chunk = reinterpret_cast<int64_t*>(memory);
  plan.items = reinterpret_cast<ItemPlan<P>*>(memory + threads * 64);
  const int64_t input_units = PlanItems(items, num_items, threads, plan);
  if (plan.num_items == 0) return;
  auto* input = static_cast<typename P::Input*>(
      StreamScratch(stream, ScratchSlot::kPackedInput, input_units * 4));
  for (int64_t i = 0; i < plan.num_items; ++i) {
    plan.items[i].input = input + plan.items[i].input_begin;
  }
  PackInputs(stream, plan, input_units);
  constexpr int64_t kTinyCost = 16 * 1024;
  if (threads == 1 || plan.total_cost < kTinyCost) {
    MultiplyChunk(plan, 0, 1);
    return;
  }
  plan.threads = threads;
  plan.chunks_per_thread = plan.total_cost < threads * 16 * kTinyCost ? 1 : 8;
  for (int64_t t = 0; t < threads; ++t) plan.next_chunk[t * 8] = 0;
  StreamRunOnAll(stream, &RunGemmWorker<P>, &plan);
}

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_GEMM_GEMM_DRIVER_H_
