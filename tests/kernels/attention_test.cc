#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/kernel_test_support.h"

namespace tessera::kernels {
namespace {

// Pages with a free choice of blocks; unused memory is NaN, so that reading it shows.
class Pages {
 public:
  Pages(DType dtype, int64_t elements_per_token, int64_t block_tokens, int64_t num_blocks)
      : bytes_(static_cast<size_t>(elements_per_token * block_tokens * SizeOf(dtype) * num_blocks),
               '\xff') {
    view_ = {bytes_.data(), dtype, num_blocks, block_tokens,
             elements_per_token * block_tokens * SizeOf(dtype)};
  }
  PagedKv view() { return view_; }

 private:
  std::vector<char> bytes_;
  PagedKv view_;
};

// A block table whose blocks are scattered: `first`, then downwards and upwards in turn.
std::vector<int32_t> Scattered(int64_t count, int64_t num_blocks, int64_t first) {
  std::vector<int32_t> table;
  for (int64_t i = 0; i < count; ++i) {
    table.push_back(static_cast<int32_t>((first + i * 7) % num_blocks));
  }
  return table;
}

float Stored(DType dtype, float value) {
  return dtype == DType::kBF16 ? Bf16Rounded(value) : value;
}

// softmax(scores) · values, in double.
template <typename Value>
double Weighted(const std::vector<double>& scores, const Value& value) {
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0, total = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double weight = std::exp(scores[i] - max);
    sum += weight;
    total += weight * value(static_cast<int64_t>(i));
  }
  return total / sum;
}

// One sequence of `context` positions with random q, k, v.
struct MhaCase {
  MhaCase(MhaShape shape_in, DType dtype_in, int64_t block_in, int64_t context_in)
      : shape(shape_in),
        dtype(dtype_in),
        block(block_in),
        context(context_in),
        q(Matrix::Random(context_in, shape_in.num_heads * shape_in.head_dim, 31, 2.0f)),
        k(Matrix::Random(context_in, shape_in.num_kv_heads * shape_in.head_dim, 32, 2.0f)),
        v(Matrix::Random(context_in, shape_in.num_kv_heads * shape_in.head_dim, 33)) {}

  int64_t blocks() const { return (context + block - 1) / block; }

  // Writes and attends rows [begin, begin + count) as one chunk.
  void RunChunk(const KernelTable& table, TestStream& stream, PagedKv kv,
                const std::vector<int32_t>& block_table, int64_t begin, int64_t count,
                Matrix& out) {
    const SequenceRows rows{0, count, begin, block_table.data()};
    const int64_t cols = k.cols();
    table.kv_write_mha(stream, shape, &rows, 1, {k.row(begin), count, cols, cols},
                       {v.row(begin), count, cols, cols}, kv);
    table.attention_mha(stream, shape, &rows, 1, {q.row(begin), count, q.cols(), q.cols()}, kv,
                        out.view().row_range(begin, count));
  }

  void ExpectExact(const Matrix& out) const {
    const int64_t group = shape.num_heads / shape.num_kv_heads;
    for (int64_t t = 0; t < context; ++t) {
      for (int64_t h = 0; h < shape.num_heads; ++h) {
        const int64_t kv_col = h / group * shape.head_dim;
        std::vector<double> scores;
        for (int64_t i = 0; i <= t; ++i) {
          double score = 0;
          for (int64_t d = 0; d < shape.head_dim; ++d) {
            score += double{q.at(t, h * shape.head_dim + d)} * Stored(dtype, k.at(i, kv_col + d));
          }
          scores.push_back(score * shape.softmax_scale);
        }
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          const double expected = Weighted(
              scores, [&](int64_t i) { return double{Stored(dtype, v.at(i, kv_col + d))}; });
          ASSERT_NEAR(out.at(t, h * shape.head_dim + d), expected, 2e-5)
              << "row " << t << ", head " << h << ", d " << d;
        }
      }
    }
  }

  MhaShape shape;
  DType dtype;
  int64_t block;
  int64_t context;
  Matrix q, k, v;
};

struct MlaCase {
  MlaCase(MlaShape shape_in, DType dtype_in, int64_t block_in, int64_t context_in)
      : shape(shape_in),
        dtype(dtype_in),
        block(block_in),
        context(context_in),
        q_latent(Matrix::Random(context_in, shape_in.num_heads * shape_in.latent_dim, 41)),
        q_rope(Matrix::Random(context_in, shape_in.num_heads * shape_in.rope_dim, 42)),
        latent(Matrix::Random(context_in, shape_in.latent_dim, 43)),
        k_rope(Matrix::Random(context_in, shape_in.rope_dim, 44)) {}

  int64_t blocks() const { return (context + block - 1) / block; }

  void RunChunk(const KernelTable& table, TestStream& stream, PagedKv kv,
                const std::vector<int32_t>& block_table, int64_t begin, int64_t count,
                Matrix& out) {
    const SequenceRows rows{0, count, begin, block_table.data()};
    const auto part = [&](const Matrix& m) {
      return ConstMat{m.row(begin), count, m.cols(), m.cols()};
    };
    table.kv_write_mla(stream, shape, &rows, 1, part(latent), part(k_rope), kv);
    table.attention_mla(stream, shape, &rows, 1, part(q_latent), part(q_rope), kv,
                        out.view().row_range(begin, count));
  }

  void ExpectExact(const Matrix& out) const {
    for (int64_t t = 0; t < context; ++t) {
      for (int64_t h = 0; h < shape.num_heads; ++h) {
        std::vector<double> scores;
        for (int64_t i = 0; i <= t; ++i) {
          double score = 0;
          for (int64_t d = 0; d < shape.latent_dim; ++d) {
            score +=
                double{q_latent.at(t, h * shape.latent_dim + d)} * Stored(dtype, latent.at(i, d));
          }
          for (int64_t d = 0; d < shape.rope_dim; ++d) {
            score += double{q_rope.at(t, h * shape.rope_dim + d)} * Stored(dtype, k_rope.at(i, d));
          }
          scores.push_back(score * shape.softmax_scale);
        }
        for (int64_t d = 0; d < shape.latent_dim; ++d) {
          const double expected =
              Weighted(scores, [&](int64_t i) { return double{Stored(dtype, latent.at(i, d))}; });
          ASSERT_NEAR(out.at(t, h * shape.latent_dim + d), expected, 2e-5)
              << "row " << t << ", head " << h << ", d " << d;
        }
      }
    }
  }

  MlaShape shape;
  DType dtype;
  int64_t block;
  int64_t context;
  Matrix q_latent, q_rope, latent, k_rope;
};

int64_t ElementsPerToken(const MhaShape& s) { return 2 * s.num_kv_heads * s.head_dim; }
int64_t ElementsPerToken(const MlaShape& s) { return s.latent_dim + s.rope_dim; }
int64_t OutCols(const MhaShape& s) { return s.num_heads * s.head_dim; }
int64_t OutCols(const MlaShape& s) { return s.num_heads * s.latent_dim; }

// Runs the case in chunks of `chunk` rows over its own pages.
template <typename Case>
Matrix RunInChunks(const KernelTable& table, Case& c, int threads, int64_t chunk,
                   int64_t block_tokens, int64_t first_block) {
  c.block = block_tokens;
  int64_t num_blocks = c.blocks() * 2 + 1;
  if (num_blocks % 7 == 0) ++num_blocks;  // Scattered's step may not meet itself
  Pages pages(c.dtype, ElementsPerToken(c.shape), block_tokens, num_blocks);
  const std::vector<int32_t> table_of_blocks = Scattered(c.blocks(), num_blocks, first_block);
  std::vector<int32_t> sorted = table_of_blocks;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_TRUE(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
  TestStream stream(threads);
  Matrix out(c.context, OutCols(c.shape));
  for (int64_t begin = 0; begin < c.context; begin += chunk) {
    c.RunChunk(table, stream, pages.view(), table_of_blocks, begin,
               std::min(chunk, c.context - begin), out);
  }
  return out;
}

template <typename Case>
void ExpectChunksLeaveNoTrace(const KernelTable& table, Case& c) {
  const Matrix whole = RunInChunks(table, c, 1, c.context, 16, 3);
  struct Cut {
    int threads;
    int64_t chunk, block;
  };
  for (const Cut cut : {Cut{1, 1, 16}, Cut{2, 7, 16}, Cut{3, 50, 16}, Cut{4, 64, 5},
                        Cut{2, 128, 64}, Cut{2, 3, 64}, Cut{1, 1000, 128}}) {
    const Matrix parts = RunInChunks(table, c, cut.threads, cut.chunk, cut.block, 0);
    for (int64_t t = 0; t < c.context; ++t) {
      ASSERT_TRUE(SameBytes(parts.row(t), whole.row(t), whole.cols()))
          << "row " << t << ", chunk " << cut.chunk << ", block " << cut.block;
    }
  }
}

using Attention = TableTest;

TEST_P(Attention, MhaMatchesExactSoftmax) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const MhaShape shape : {MhaShape{2, 2, 128, 0.088f}, MhaShape{4, 1, 40, 0.15f},
                                 MhaShape{6, 2, 20, 0.2f}, MhaShape{1, 1, 5, 0.5f}}) {
      MhaCase c(shape, dtype, 16, 150);
      c.ExpectExact(RunInChunks(table(), c, 2, 150, 16, 1));
      c.ExpectExact(RunInChunks(table(), c, 2, 1, 16, 1));
    }
  }
}

TEST_P(Attention, MlaMatchesExactSoftmax) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const MlaShape shape :
         {MlaShape{3, 64, 16, 0.1f}, MlaShape{16, 128, 64, 0.07f}, MlaShape{2, 20, 6, 0.2f}}) {
      MlaCase c(shape, dtype, 16, 100);
      c.ExpectExact(RunInChunks(table(), c, 2, 100, 16, 1));
      c.ExpectExact(RunInChunks(table(), c, 2, 1, 16, 1));
    }
  }
}

TEST_P(Attention, MhaChunksThreadsAndBlocksLeaveNoTrace) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const MhaShape shape : {MhaShape{2, 2, 128, 0.088f}, MhaShape{6, 2, 40, 0.15f}}) {
      MhaCase c(shape, dtype, 16, 200);
      ExpectChunksLeaveNoTrace(table(), c);
    }
  }
}

TEST_P(Attention, MlaChunksThreadsAndBlocksLeaveNoTrace) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const MlaShape shape : {MlaShape{10, 64, 16, 0.1f}, MlaShape{5, 40, 8, 0.1f}}) {
      MlaCase c(shape, dtype, 16, 150);
      ExpectChunksLeaveNoTrace(table(), c);
    }
  }
}

// Ragged batches: each sequence's rows as if it were alone.
TEST_P(Attention, SequencesOfABatchDoNotMeet) {
  const MhaShape shape{4, 2, 64, 0.125f};
  struct Part {
    int64_t context, rows;
  };
  const std::vector<Part> parts = {{1, 1}, {70, 1}, {0, 0}, {130, 130}, {65, 9}, {64, 1}};
  constexpr int64_t kBlock = 16, kBlocks = 64;
  Pages pages(DType::kBF16, ElementsPerToken(shape), kBlock, kBlocks);
  TestStream stream(3);
  std::vector<MhaCase> cases;
  std::vector<std::vector<int32_t>> block_tables;
  int64_t rows = 0;
  int32_t next_block = 0;
  for (const Part& part : parts) {
    cases.emplace_back(shape, DType::kBF16, kBlock, part.context);
    std::vector<int32_t> blocks;
    for (int64_t i = 0; i < cases.back().blocks(); ++i) {
      blocks.push_back(next_block++ * 29 % kBlocks);
    }
    block_tables.push_back(blocks);
    rows += part.rows;
  }
  Matrix q(rows, 256), k(rows, 128), v(rows, 128), out(rows, 256, 4);
  std::vector<SequenceRows> sequences;
  std::vector<Matrix> alone;
  int64_t row = 0;
  for (size_t s = 0; s < parts.size(); ++s) {
    MhaCase& c = cases[s];
    const int64_t begin = c.context - parts[s].rows;
    Matrix expected(c.context, 256);
    // Leaves the pages written for the batch, too.
    if (c.context > 0) {
      c.RunChunk(table(), stream, pages.view(), block_tables[s], 0, c.context, expected);
    }
    alone.push_back(expected);
    sequences.push_back({row, parts[s].rows, begin, block_tables[s].data()});
    for (int64_t r = 0; r < parts[s].rows; ++r, ++row) {
      for (int64_t d = 0; d < 256; ++d) q.at(row, d) = c.q.at(begin + r, d);
    }
  }
  table().attention_mha(stream, shape, sequences.data(), static_cast<int64_t>(sequences.size()),
                        q.view(), pages.view(), out.view());
  for (size_t s = 0; s < parts.size(); ++s) {
    for (int64_t r = 0; r < parts[s].rows; ++r) {
      ASSERT_TRUE(SameBytes(out.row(sequences[s].first_row + r),
                            alone[s].row(sequences[s].first_position + r), 256))
          << "sequence " << s << ", row " << r;
    }
  }
  EXPECT_TRUE(out.GapsUntouched());
}

// Rows of one chunk that a row may not see must not reach it, not even as 0 * inf.
TEST_P(Attention, LaterRowsNeverReachEarlierOnes) {
  for (const int64_t poisoned : {1, 33, 64, 69}) {
    MhaCase c({2, 2, 64, 0.1f}, DType::kF32, 16, 70);
    const Matrix clean = RunInChunks(table(), c, 2, 70, 16, 0);
    for (int64_t d = 0; d < c.v.cols(); ++d) {
      c.v.at(poisoned, d) = std::numeric_limits<float>::infinity();
      c.k.at(poisoned, d) = std::numeric_limits<float>::quiet_NaN();
    }
    const Matrix dirty = RunInChunks(table(), c, 2, 70, 16, 0);
    for (int64_t t = 0; t < poisoned; ++t) {
      ASSERT_TRUE(SameBytes(dirty.row(t), clean.row(t), clean.cols())) << t;
    }
    EXPECT_TRUE(std::isnan(dirty.at(poisoned, 0)));
  }
}

TEST_P(Attention, ExtremeScoresStayFinite) {
  MhaCase c({1, 1, 16, 1.0f}, DType::kF32, 16, 130);
  for (int64_t t = 0; t < c.context; ++t) {
    for (int64_t d = 0; d < 16; ++d) c.q.at(t, d) *= 30.0f;  // scores of about ±1000
  }
  const Matrix out = RunInChunks(table(), c, 2, 130, 16, 0);
  for (int64_t t = 0; t < c.context; ++t) {
    for (int64_t d = 0; d < 16; ++d) EXPECT_TRUE(std::isfinite(out.at(t, d)));
  }
}

TEST_P(Attention, FullMatchesExactSoftmax) {
  struct Shape {
    int64_t tiles, patches, heads, dim;
  };
  for (const Shape s :
       {Shape{1, 1, 1, 8}, Shape{2, 49, 2, 40}, Shape{1, 100, 3, 72}, Shape{3, 17, 1, 33}}) {
    const int64_t width = s.heads * s.dim;
    const Matrix qkv = Matrix::Random(s.tiles * s.patches, 3 * width, 51, 1.5f, 2);
    Matrix out(s.tiles * s.patches, width, 3);
    TestStream stream(2);
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
    table().attention_full(stream, s.patches, s.heads, s.dim, scale, qkv.view(), out.view());
    for (int64_t t = 0; t < out.rows(); ++t) {
      const int64_t first = t / s.patches * s.patches;
      for (int64_t h = 0; h < s.heads; ++h) {
        std::vector<double> scores;
        for (int64_t i = 0; i < s.patches; ++i) {
          double score = 0;
          for (int64_t d = 0; d < s.dim; ++d) {
            score += double{qkv.at(t, h * s.dim + d)} * qkv.at(first + i, width + h * s.dim + d);
          }
          scores.push_back(score * scale);
        }
        for (int64_t d = 0; d < s.dim; ++d) {
          const double expected = Weighted(scores, [&](int64_t i) {
            return double{qkv.at(first + i, 2 * width + h * s.dim + d)};
          });
          ASSERT_NEAR(out.at(t, h * s.dim + d), expected, 1e-5) << t << " " << h << " " << d;
        }
      }
    }
    EXPECT_TRUE(out.GapsUntouched());
  }
}

TEST_P(Attention, FullDependsOnNeitherThreadsNorOtherTiles) {
  const Matrix qkv = Matrix::Random(3 * 29, 3 * 48, 52);
  Matrix all(3 * 29, 48);
  TestStream four(4);
  table().attention_full(four, 29, 2, 24, 0.2f, qkv.view(), all.view());
  TestStream one(1);
  for (int64_t tile = 0; tile < 3; ++tile) {
    Matrix alone(29, 48);
    table().attention_full(one, 29, 2, 24, 0.2f, {qkv.row(tile * 29), 29, 144, 144}, alone.view());
    EXPECT_TRUE(SameBytes(alone.row(0), all.row(tile * 29), 29 * 48));
  }
}

TEST_P(Attention, PagesHoldTheSameBytesForEveryTable) {
  const MhaShape shape{2, 2, 37, 1.0f};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const KernelTable& reference = *KernelsFor(Backend::kReference);
    const Matrix k = Matrix::Random(40, 74, 61, 100.0f);
    const Matrix v = Matrix::Random(40, 74, 62, 1e-39f);  // denormals too
    TestStream stream(2);
    const std::vector<int32_t> blocks = {4, 0, 3};
    const SequenceRows rows{0, 40, 3, blocks.data()};
    Pages a(dtype, ElementsPerToken(shape), 16, 5), b(dtype, ElementsPerToken(shape), 16, 5);
    reference.kv_write_mha(stream, shape, &rows, 1, k.view(), v.view(), a.view());
    table().kv_write_mha(stream, shape, &rows, 1, k.view(), v.view(), b.view());
    const PagedKv view = a.view();
    EXPECT_EQ(std::memcmp(view.data, b.view().data,
                          static_cast<size_t>(view.block_bytes * view.num_blocks)),
              0);
  }
}

TESSERA_ALL_TABLES(Attention);

}  // namespace
}  // namespace tessera::kernels
