// Causal attention over pages, for MHA and for MLA: cuts a ragged batch into units (rows of one
// sequence × heads that read the same keys) and walks each unit's KV range in tiles that begin at
// multiples of kTilePositions, whatever the unit.
#ifndef TESSERA_KERNELS_ATTENTION_CAUSAL_DRIVER_H_
#define TESSERA_KERNELS_ATTENTION_CAUSAL_DRIVER_H_

#include <cstdint>

#include "kernels/attention/causal_tile.h"
#include "kernels/attention/paged_kv.h"
#include "kernels/cpu_stream.h"

namespace tessera::kernels::TESSERA_ISA {
namespace {

// Queries of a unit; bounds its scratch.
constexpr int64_t kMaxQueries = 48;

template <typename S>
constexpr int64_t PadToLanes(int64_t count) {
  return (count + S::kLanes - 1) / S::kLanes * S::kLanes;
}

// How keys and values of one kv head lie in a block, in elements: position p of the block begins
// at base + p * stride.
struct HeadLayout {
  int64_t key_base;
  int64_t value_base;
  int64_t stride;
};

// What differs between MHA and MLA.
struct CausalShape {
  int64_t key_dim;
  int64_t value_dim;
  int64_t kv_heads;
  int64_t heads_per_kv;   // heads that read the same keys
  bool value_inside_key;  // MLA: the values are the first value_dim elements of the keys
};

// One thread's working memory.
template <typename S>
struct UnitScratch {
  float* q;       // [kMaxQueries, key_pad], scaled
  float* out;     // [kMaxQueries, value_pad]
  float* scores;  // [kMaxQueries, kScoreStride]
  float* key;     // [kTilePositions, key_pad]
  float* value;   // [kTilePositions, value_pad]
  SoftmaxState* states;

  static int64_t Floats(int64_t key_pad, int64_t value_pad) {
    const int64_t floats = kMaxQueries * (key_pad + value_pad + kScoreStride + 2) +
                           kTilePositions * (key_pad + value_pad);
    return (floats + 31) / 16 * 16;
  }
  UnitScratch(float* memory, int64_t key_pad, int64_t value_pad) {
    q = memory;
    out = q + kMaxQueries * key_pad;
    scores = out + kMaxQueries * value_pad;
    key = scores + kMaxQueries * kScoreStride;
    value = key + kTilePositions * key_pad;
    states = reinterpret_cast<SoftmaxState*>(value + kTilePositions * value_pad);
  }
};

// Widens `count` rows of `dim` elements to float rows of `padded`, filled with zeros.
template <typename S, typename Element>
void WidenRows(const Element* in, int64_t in_stride, int64_t count, int64_t dim, int64_t padded,
               float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const Element* row = in + i * in_stride;
    int64_t d = 0;
    for (; d + S::kLanes <= dim; d += S::kLanes) {
      S::Store(out + i * padded + d, LoadElements<S>(row + d));
    }
    for (; d < dim; ++d) {
      if constexpr (sizeof(Element) == 2) {
        out[i * padded + d] = Bf16ToFloat(row[d]);
      } else {
        out[i * padded + d] = row[d];
      }
    }
    for (; d < padded; ++d) out[i * padded + d] = 0;
  }
}

template <typename S, typename Element>
class CausalUnit {
 public:
  CausalUnit(const CausalShape& shape, const HeadLayout& layout, const PagedKv& kv,
             const SequenceRows& sequence, const UnitScratch<S>& scratch, int64_t first_position,
             int64_t rows, int64_t heads)
      : shape_(shape),
        layout_(layout),
        kv_(kv),
        sequence_(sequence),
        scratch_(scratch),
        key_pad_(PadToLanes<S>(shape.key_dim)),
        value_pad_(PadToLanes<S>(shape.value_dim)),
        first_position_(first_position),
        rows_(rows),
        heads_(heads),
        queries_(rows * heads) {}

  // scratch.q holds the queries, row-major [rows, heads]; leaves the results in scratch.out.
  void Run() {
    for (int64_t i = 0; i < queries_ * value_pad_; ++i) scratch_.out[i] = 0;
    for (int64_t i = 0; i < queries_; ++i) scratch_.states[i] = {-__builtin_inff(), 0.0f};
    const int64_t end = first_position_ + rows_;
    const bool direct = queries_ <= 2 * S::kAttentionRows && shape_.key_dim == key_pad_ &&
                        (shape_.value_dim == value_pad_ || shape_.value_inside_key);
    for (int64_t begin = 0; begin < end; begin += kTilePositions) {
      const int64_t left = end - begin;
      const int64_t count = left < kTilePositions ? left : kTilePositions;
      direct ? RunDirect(begin, count) : RunWidened(begin, count);
    }
    for (int64_t i = 0; i < queries_; ++i) {
      const auto scale = S::Set1(1.0f / scratch_.states[i].sum);
      float* out = scratch_.out + i * value_pad_;
      for (int64_t d = 0; d < value_pad_; d += S::kLanes) {
        S::Store(out + d, S::Mul(S::Load(out + d), scale));
      }
    }
  }

 private:
  // Positions [begin, begin + count) of the current tile that lie in one block.
  template <typename Function>
  void ForEachSegment(int64_t begin, int64_t count, const Function& function) {
    for (int64_t done = 0; done < count;) {
      const int64_t inside = (begin + done) % kv_.block_size_tokens;
      const int64_t room = kv_.block_size_tokens - inside;
      const int64_t length = count - done < room ? count - done : room;
      const auto* block = reinterpret_cast<const Element*>(BlockOf(kv_, sequence_, begin + done));
      function(block + inside * layout_.stride, done, length);
      done += length;
    }
  }

  void RunDirect(int64_t begin, int64_t count) {
    ForEachSegment(begin, count, [&](const Element* block, int64_t offset, int64_t length) {
      Score(block + layout_.key_base, layout_.stride, begin, offset, length);
    });
    Weigh(begin);
    ForEachSegment(begin, count, [&](const Element* block, int64_t offset, int64_t length) {
      Accumulate(block + layout_.value_base, layout_.stride, begin, offset, length);
    });
  }

  void RunWidened(int64_t begin, int64_t count) {
    ForEachSegment(begin, count, [&](const Element* block, int64_t offset, int64_t length) {
      WidenRows<S>(block + layout_.key_base, layout_.stride, length, shape_.key_dim, key_pad_,
                   scratch_.key + offset * key_pad_);
      if (shape_.value_inside_key) return;
      WidenRows<S>(block + layout_.value_base, layout_.stride, length, shape_.value_dim, value_pad_,
                   scratch_.value + offset * value_pad_);
    });
    Score(scratch_.key, key_pad_, begin, 0, count);
    Weigh(begin);
    if (shape_.value_inside_key) {
      Accumulate(scratch_.key, key_pad_, begin, 0, count);
    } else {
      Accumulate(scratch_.value, value_pad_, begin, 0, count);
    }
  }

  // Positions of the tile at `begin` that query i may see; at most kTilePositions.
  int64_t Visible(int64_t i, int64_t begin) const {
    const int64_t count = first_position_ + i / heads_ + 1 - begin;
    return count < 0 ? 0 : count < kTilePositions ? count : kTilePositions;
  }

  static int64_t Inside(int64_t visible, int64_t offset, int64_t length) {
    const int64_t count = visible - offset;
    return count < 0 ? 0 : count < length ? count : length;
  }

  template <typename E>
  void Score(const E* key, int64_t stride, int64_t begin, int64_t offset, int64_t length) {
    constexpr int kRows = S::kAttentionRows;
    for (int64_t i = 0; i < queries_;) {
      const int64_t group = queries_ - i >= kRows ? kRows : 1;
      // The last query of a group sees the most; what the others may not see is overwritten.
      const int64_t count = Inside(Visible(i + group - 1, begin), offset, length);
      const float* q = scratch_.q + i * key_pad_;
      float* scores = scratch_.scores + i * kScoreStride + offset;
      if (group == kRows) {
        ScoreRows<S, kRows>(q, key_pad_, key, stride, count, key_pad_, scores);
      } else {
        ScoreRows<S, 1>(q, key_pad_, key, stride, count, key_pad_, scores);
      }
      i += group;
    }
  }

  void Weigh(int64_t begin) {
    for (int64_t i = 0; i < queries_; ++i) {
      const int64_t visible = Visible(i, begin);
      if (visible == 0) continue;
      UpdateSoftmax<S>(scratch_.scores + i * kScoreStride, visible, scratch_.states[i],
                       scratch_.out + i * value_pad_, value_pad_);
    }
  }

  // A group goes together over what all of it may see, then one by one over the rest: an unseen
  // value is never multiplied, not even by zero (it may be infinite).
  template <typename E>
  void Accumulate(const E* value, int64_t stride, int64_t begin, int64_t offset, int64_t length) {
    constexpr int kRows = S::kAttentionRows;
    for (int64_t i = 0; i < queries_;) {
      const int64_t group = queries_ - i >= kRows ? kRows : 1;
      const float* p = scratch_.scores + i * kScoreStride + offset;
      float* out = scratch_.out + i * value_pad_;
      int64_t common = 0;
      if (group == kRows) {
        common = Inside(Visible(i, begin), offset, length);
        AccumulateRows<S, kRows>(p, value, stride, common, value_pad_, out, value_pad_);
      }
      for (int64_t r = 0; r < group; ++r) {
        const int64_t count = Inside(Visible(i + r, begin), offset, length);
        if (count <= common) continue;
        AccumulateRows<S, 1>(p + r * kScoreStride + common, value + common * stride, stride,
                             count - common, value_pad_, out + r * value_pad_, value_pad_);
      }
      i += group;
    }
  }

  const CausalShape& shape_;
  const HeadLayout layout_;
  const PagedKv& kv_;
  const SequenceRows& sequence_;
  const UnitScratch<S>& scratch_;
  const int64_t key_pad_;
  const int64_t value_pad_;
  const int64_t first_position_;
  const int64_t rows_;
  const int64_t heads_;
  const int64_t queries_;
};

// How the units of a call are numbered: by sequence, then row chunk (the last, dearest one first),
// then kv head, then head chunk.
struct UnitGrid {
  int64_t head_chunk;
  int64_t head_chunks;  // per kv head
  int64_t row_chunk;
  int64_t per_row_chunk;
  int64_t total;

  int64_t RowChunks(const SequenceRows& sequence) const {
    return (sequence.num_rows + row_chunk - 1) / row_chunk;
  }
};

inline UnitGrid MakeGrid(const CausalShape& shape, const SequenceRows* sequences,
                         int64_t num_sequences, int64_t head_chunk) {
  UnitGrid grid{};
  grid.head_chunk = head_chunk;
  grid.head_chunks = (shape.heads_per_kv + head_chunk - 1) / head_chunk;
  grid.row_chunk = kMaxQueries / head_chunk;
  grid.per_row_chunk = shape.kv_heads * grid.head_chunks;
  for (int64_t s = 0; s < num_sequences; ++s) {
    grid.total += grid.RowChunks(sequences[s]) * grid.per_row_chunk;
  }
  return grid;
}

// As many heads a unit as its scratch takes, fewer where threads would have no work.
template <typename S>
UnitGrid ChooseGrid(const CausalShape& shape, const SequenceRows* sequences, int64_t num_sequences,
                    int64_t threads) {
  int64_t chunk = shape.heads_per_kv < kMaxQueries ? shape.heads_per_kv : kMaxQueries;
  UnitGrid grid = MakeGrid(shape, sequences, num_sequences, chunk);
  while (grid.total < 2 * threads && chunk > S::kAttentionRows && threads > 1) {
    chunk = (chunk + 1) / 2;
    grid = MakeGrid(shape, sequences, num_sequences, chunk);
  }
  return grid;
}

// load_query(row, head, out): writes key_dim scaled elements. layout(kv_head): HeadLayout.
// store(row, head, in): takes value_dim results.
template <typename S, typename LoadQuery, typename Layout, typename Store>
void RunCausal(Stream& stream, const CausalShape& shape, const SequenceRows* sequences,
               int64_t num_sequences, const PagedKv& kv, const LoadQuery& load_query,
               const Layout& layout, const Store& store) {
  const int64_t threads = StreamThreads(stream);
  const int64_t key_pad = PadToLanes<S>(shape.key_dim);
  const int64_t value_pad = PadToLanes<S>(shape.value_dim);
  const UnitGrid grid = ChooseGrid<S>(shape, sequences, num_sequences, threads);
  const int64_t floats = UnitScratch<S>::Floats(key_pad, value_pad);
  float* memory = static_cast<float*>(
      StreamScratch(stream, ScratchSlot::kThread, threads * floats * sizeof(float)));
  ParallelUnits(stream, grid.total, [&](int64_t unit, int worker) {
    const SequenceRows* sequence = sequences;
    int64_t index = unit;
    while (index >= grid.RowChunks(*sequence) * grid.per_row_chunk) {
      index -= grid.RowChunks(*sequence) * grid.per_row_chunk;
      ++sequence;
    }
    const int64_t row_chunk = grid.RowChunks(*sequence) - 1 - index / grid.per_row_chunk;
    const int64_t kv_head = index % grid.per_row_chunk / grid.head_chunks;
    const int64_t head_in_group = index % grid.head_chunks * grid.head_chunk;
    const int64_t heads_left = shape.heads_per_kv - head_in_group;
    const int64_t heads = heads_left < grid.head_chunk ? heads_left : grid.head_chunk;
    const int64_t first_head = kv_head * shape.heads_per_kv + head_in_group;
    const int64_t first = row_chunk * grid.row_chunk;
    const int64_t rows_left = sequence->num_rows - first;
    const int64_t rows = rows_left < grid.row_chunk ? rows_left : grid.row_chunk;

    const UnitScratch<S> scratch(memory + worker * floats, key_pad, value_pad);
    for (int64_t i = 0; i < rows * heads; ++i) {
      float* q = scratch.q + i * key_pad;
      load_query(sequence->first_row + first + i / heads, first_head + i % heads, q);
      for (int64_t d = shape.key_dim; d < key_pad; ++d) q[d] = 0;
    }
    const int64_t position = sequence->first_position + first;
    if (kv.dtype == DType::kF32) {
      CausalUnit<S, float>(shape, layout(kv_head), kv, *sequence, scratch, position, rows, heads)
          .Run();
    } else {
      CausalUnit<S, uint16_t>(shape, layout(kv_head), kv, *sequence, scratch, position, rows, heads)
          .Run();
    }
    for (int64_t i = 0; i < rows * heads; ++i) {
      store(sequence->first_row + first + i / heads, first_head + i % heads,
            scratch.out + i * value_pad);
    }
  });
}

}  // namespace
}  // namespace tessera::kernels::TESSERA_ISA

#endif  // TESSERA_KERNELS_ATTENTION_CAUSAL_DRIVER_H_
