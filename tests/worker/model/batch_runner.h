// Several sequences in one model, stepped together in any mix of chunks.
#ifndef TESSERA_TESTS_WORKER_MODEL_BATCH_RUNNER_H_
#define TESSERA_TESTS_WORKER_MODEL_BATCH_RUNNER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/check/model_runner.h"
#include "worker/model/model.h"

namespace tessera::model {

class BatchRunner {
 public:
  // Each sequence may grow to max_tokens. Blocks of the sequences are interleaved. prompts outlive
  // the runner.
  BatchRunner(VlModel& model, const std::vector<check::Prompt>& prompts, int64_t max_tokens,
              int64_t block_size_tokens)
      : model_(model),
        prompts_(prompts),
        pages_(model.kv_layout(),
               static_cast<int64_t>(prompts.size()) * BlocksFor(max_tokens, block_size_tokens),
               block_size_tokens),
        positions_(prompts.size(), 0),
        block_tables_(prompts.size()),
        last_logits_(prompts.size()) {
    const auto count = static_cast<int32_t>(prompts.size());
    for (int32_t s = 0; s < count; ++s) {
      for (int32_t b = static_cast<int32_t>(BlocksFor(max_tokens, block_size_tokens)) - 1; b >= 0;
           --b) {
        block_tables_[s].push_back(b * count + s);
      }
      ids_.push_back(prompts[s].ids);
    }
  }

  // One step: for each (sequence, rows), that many of its next tokens. A sequence whose tokens end
  // with the step gets logits.
  absl::Status Step(const std::vector<std::pair<int, int64_t>>& parts,
                    ForwardProbe* probe = nullptr) {
    std::vector<StepSequence> sequences;
    std::vector<int> wanted;
    for (const auto& [s, rows] : parts) {
      StepSequence sequence;
      sequence.token_ids = absl::MakeConstSpan(ids_[s]).subspan(static_cast<size_t>(positions_[s]),
                                                                static_cast<size_t>(rows));
      sequence.first_position = positions_[s];
      sequence.block_table = block_tables_[s];
      sequence.images = check::ClipImages(prompts_[s].images, positions_[s], positions_[s] + rows);
      sequence.wants_logits = positions_[s] + rows == static_cast<int64_t>(ids_[s].size());
      if (sequence.wants_logits) wanted.push_back(s);
      positions_[s] += rows;
      sequences.push_back(sequence);
    }
    const int64_t vocab = model_.config().language.vocab_size;
    std::vector<float> logits(wanted.size() * static_cast<size_t>(vocab));
    const absl::Status status =
        model_.Forward(sequences, pages_.layers(),
                       {logits.data(), static_cast<int64_t>(wanted.size()), vocab, vocab}, probe);
    for (size_t i = 0; i < wanted.size(); ++i) {
      last_logits_[wanted[i]].assign(logits.begin() + static_cast<int64_t>(i) * vocab,
                                     logits.begin() + static_cast<int64_t>(i + 1) * vocab);
    }
    return status;
  }

  void Append(int s, int32_t id) { ids_[s].push_back(id); }
  int64_t remaining(int s) const { return static_cast<int64_t>(ids_[s].size()) - positions_[s]; }
  const std::vector<float>& logits(int s) const { return last_logits_[s]; }

 private:
  static int64_t BlocksFor(int64_t tokens, int64_t block) { return (tokens + block - 1) / block; }

  VlModel& model_;
  const std::vector<check::Prompt>& prompts_;
  check::KvPages pages_;
  std::vector<std::vector<int32_t>> ids_;
  std::vector<int64_t> positions_;
  std::vector<std::vector<int32_t>> block_tables_;
  std::vector<std::vector<float>> last_logits_;
};

}  // namespace tessera::model

#endif  // TESSERA_TESTS_WORKER_MODEL_BATCH_RUNNER_H_
