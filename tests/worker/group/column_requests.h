// The requests of one column: several sequences with pages of their own, stepped together.
#ifndef TESSERA_TESTS_WORKER_GROUP_COLUMN_REQUESTS_H_
#define TESSERA_TESTS_WORKER_GROUP_COLUMN_REQUESTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/cli/check/model_runner.h"
#include "tests/worker/group/rank_group.h"
#include "worker/kv/kv.h"
#include "worker/model/model.h"

namespace tessera::group {

inline constexpr int64_t kMaxTokens = 96;  // of a sequence
inline constexpr int kDecodeSteps = 3;

using Logits = std::vector<std::vector<float>>;  // [step][vocab], of one sequence

// Deterministic prompts; those that are long enough have an image.
class Prompts {
 public:
  Prompts(const model::LanguageConfig& language, const std::vector<int64_t>& lengths) {
    std::mt19937 random(11);
    const int64_t hidden = language.hidden_size;
    image_rows_.resize(static_cast<size_t>(20 * hidden));
    for (float& value : image_rows_)
      value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 1e-3f;
    for (const int64_t length : lengths) {
      check::Prompt& prompt = prompts_.emplace_back();
      for (int64_t i = 0; i < length; ++i) {
        prompt.ids.push_back(
            static_cast<int32_t>(random() % static_cast<uint64_t>(language.vocab_size)));
      }
      if (length > 40) prompt.images.push_back({5, {image_rows_.data(), 20, hidden, hidden}});
    }
  }
  const check::Prompt& operator[](size_t i) const { return prompts_[i]; }
  size_t size() const { return prompts_.size(); }

 private:
  std::vector<float> image_rows_;
  std::vector<check::Prompt> prompts_;
};

class ColumnRequests {
 public:
  // prompts: those of this column; they outlive it. At most kNumBlocks · kBlockSize / kMaxTokens.
  ColumnRequests(const model::KvLayout& layout, int64_t vocab,
                 const std::vector<const check::Prompt*>& prompts)
      : vocab_(vocab), storage_(layout, kBlockSize, kNumBlocks) {
    const auto count = static_cast<int32_t>(prompts.size());
    for (int32_t s = 0; s < count; ++s) {
      Sequence& sequence = sequences_.emplace_back();
      sequence.prompt = prompts[s];
      sequence.ids = prompts[s]->ids;
      // Blocks of the sequences are interleaved and run backwards.
      for (int32_t b = kMaxTokens / kBlockSize - 1; b >= 0; --b)
        sequence.blocks.push_back(b * count + s);
    }
  }

  // One step: at most `chunk` of each unfinished sequence's tokens. A failed one may be repeated.
  absl::Status Step(model::VlModel& model, int64_t chunk) {
    std::vector<model::StepSequence> parts;
    std::vector<Sequence*> stepped;
    int64_t num_logits = 0;
    for (Sequence& sequence : sequences_) {
      const auto length = static_cast<int64_t>(sequence.ids.size());
      if (sequence.position == length) continue;
      model::StepSequence& part = parts.emplace_back();
      const int64_t rows = std::min(chunk, length - sequence.position);
      part.token_ids =
          absl::MakeConstSpan(sequence.ids)
              .subspan(static_cast<size_t>(sequence.position), static_cast<size_t>(rows));
      part.first_position = sequence.position;
      part.block_table = sequence.blocks;
      part.images =
          check::ClipImages(sequence.prompt->images, sequence.position, sequence.position + rows);
      part.wants_logits = sequence.position + rows == length;
      num_logits += part.wants_logits;
      stepped.push_back(&sequence);
    }
    std::vector<float> logits(static_cast<size_t>(num_logits * vocab_));
    const absl::Status status = model.Forward(parts, storage_.layers(),
                                              {logits.data(), num_logits, vocab_, vocab_}, nullptr);
    if (!status.ok()) return status;
    const float* row = logits.data();
    for (size_t i = 0; i < parts.size(); ++i) {
      Sequence& sequence = *stepped[i];
      sequence.position += static_cast<int64_t>(parts[i].token_ids.size());
      if (!parts[i].wants_logits) continue;
      sequence.logits.emplace_back(row, row + vocab_);
      row += vocab_;
      if (static_cast<int>(sequence.logits.size()) <= kDecodeSteps)
        sequence.ids.push_back(check::ArgMax(sequence.logits.back()));
    }
    return status;
  }

  bool done() const {
    return std::all_of(sequences_.begin(), sequences_.end(), [](const Sequence& sequence) {
      return sequence.position == static_cast<int64_t>(sequence.ids.size());
    });
  }
  size_t size() const { return sequences_.size(); }
  const Logits& logits(size_t sequence) const { return sequences_[sequence].logits; }
  absl::Span<const kernels::PagedKv> layers() const { return storage_.layers(); }

 private:
  struct Sequence {
    const check::Prompt* prompt = nullptr;
    std::vector<int32_t> ids;
    std::vector<int32_t> blocks;
    int64_t position = 0;
    Logits logits;
  };

  int64_t vocab_;
  kv::KvStorage storage_;
  std::vector<Sequence> sequences_;
};

inline void ExpectSameBytes(const Logits& found, const Logits& truth, const std::string& what) {
  ASSERT_EQ(found.size(), truth.size()) << what;
  for (size_t i = 0; i < truth.size(); ++i) {
    EXPECT_EQ(std::memcmp(found[i].data(), truth[i].data(), truth[i].size() * sizeof(float)), 0)
        << what << ", step " << i;
  }
}

}  // namespace tessera::group

#endif  // TESSERA_TESTS_WORKER_GROUP_COLUMN_REQUESTS_H_
