#include "tests/worker/engine/fake_model.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace tessera::engine::testing {
namespace {

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15u + b + 0x632BE59BD9B4E019u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// 22 bits: exact in a float.
float ToFeature(uint64_t hash) { return static_cast<float>(hash >> 42); }

uint64_t HashPixels(absl::Span<const uint8_t> pixels) {
  uint64_t hash = pixels.size();
  for (const uint8_t pixel : pixels) hash = Mix(hash, pixel);
  return hash;
}

float Feature(uint64_t image_hash, int64_t row, int64_t col) {
  return ToFeature(Mix(Mix(image_hash, row), col));
}

uint64_t ValueOfFeatures(const float* features) {
  uint64_t value = 17;
  for (int64_t i = 0; i < FakeModel::kHidden; ++i) {
    value = Mix(value, static_cast<uint64_t>(features[i]));
  }
  return value;
}

uint64_t ValueOfToken(int32_t token) { return Mix(3, static_cast<uint64_t>(token)); }

// What position `position` leaves in the pages of a layer.
uint64_t PageValue(uint64_t value, int64_t position, int64_t layer) {
  return Mix(Mix(value, position), layer);
}

void FillLogits(uint64_t context_hash, absl::Span<float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(Mix(context_hash, i) >> 48) * 0x1.0p-13f - 4.0f;
  }
}

// Block size 8 floats a token pair: a row is 2 floats = one 64-bit number.
uint64_t* Slot(const kernels::PagedKv& layer, int32_t block, int64_t offset) {
  auto* page = static_cast<char*>(layer.data) + block * layer.block_bytes;
  return reinterpret_cast<uint64_t*>(page) + offset;
}

void RaiseTo(std::atomic<int64_t>& most, int64_t value) { most = std::max<int64_t>(most, value); }

}  // namespace

FakeModel::FakeModel(const FakeModelOptions& options) {
  config_.vision.image_size = kSide;
  config_.language.vocab_size = options.vocab_size;
  config_.language.hidden_size = kHidden;
  config_.language.max_position_embeddings = options.context_tokens;
}

absl::Status FakeModel::EncodeImage(const model::ImageTiles& image, kernels::Mat features,
                                    model::ForwardProbe*) {
  ++num_encodings;
  if (before_encode) {
    if (absl::Status status = before_encode(image); !status.ok()) return status;
  }
  const uint64_t hash = HashPixels(image.pixels);
  for (int64_t row = 0; row < features.rows; ++row) {
    for (int64_t col = 0; col < features.cols; ++col) {
      features.row(row)[col] = Feature(hash, row, col);
    }
  }
  return absl::OkStatus();
}

void FakeModel::WritePages(const model::StepSequence& sequence, const kernels::PagedKv& pages,
                           int64_t layer) {
  std::vector<uint64_t> values;
  for (const int32_t token : sequence.token_ids) values.push_back(ValueOfToken(token));
  for (const model::EmbeddingSpan& span : sequence.images) {
    for (int64_t row = 0; row < span.features.rows; ++row) {
      values.at(span.first_row + row) = ValueOfFeatures(span.features.row(row));
    }
  }
  const int64_t block_size = pages.block_size_tokens;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t position = sequence.first_position + static_cast<int64_t>(i);
    *Slot(pages, sequence.block_table[position / block_size], position % block_size) =
        PageValue(values[i], position, layer);
  }
}

absl::Status FakeModel::Forward(absl::Span<const model::StepSequence> sequences,
                                absl::Span<const kernels::PagedKv> layers, kernels::Mat logits,
                                model::ForwardProbe*) {
  ++num_forwards;
  if (before_forward) {
    if (absl::Status status = before_forward(sequences); !status.ok()) return status;
  }
  std::set<int32_t> written;
  int64_t rows = 0;
  for (const model::StepSequence& sequence : sequences) {
    rows += static_cast<int64_t>(sequence.token_ids.size());
    const int64_t block_size = layers[0].block_size_tokens;
    const int64_t end = sequence.first_position + static_cast<int64_t>(sequence.token_ids.size());
    if (end > config_.language.max_position_embeddings ||
        static_cast<int64_t>(sequence.block_table.size()) != (end + block_size - 1) / block_size) {
      return absl::InternalError("fake model: positions or block table are wrong");
    }
    for (int64_t i = sequence.first_position / block_size; i * block_size < end; ++i) {
      if (!written.insert(sequence.block_table[i]).second) {
        return absl::InternalError("fake model: two sequences write one block");
      }
    }
  }
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (const model::StepSequence& sequence : sequences) {
      WritePages(sequence, layers[layer], static_cast<int64_t>(layer));
    }
    if (observer_ != nullptr && rows > 0) observer_->OnKvWritten(static_cast<int64_t>(layer));
    if (after_layer) {
      if (absl::Status status = after_layer(static_cast<int64_t>(layer)); !status.ok()) {
        return status;
      }
    }
  }
  RaiseTo(most_rows_in_step, rows);
  RaiseTo(most_sequences_in_step, static_cast<int64_t>(sequences.size()));
  num_rows += rows;
  int64_t logit_row = 0;
  for (const model::StepSequence& sequence : sequences) {
    if (!sequence.wants_logits) continue;
    const int64_t block_size = layers[0].block_size_tokens;
    uint64_t hash = 99;
    const int64_t end = sequence.first_position + static_cast<int64_t>(sequence.token_ids.size());
    for (int64_t position = 0; position < end; ++position) {
      for (const kernels::PagedKv& layer : layers) {
        hash = Mix(
            hash, *Slot(layer, sequence.block_table[position / block_size], position % block_size));
      }
    }
    FillLogits(hash, {logits.row(logit_row++), static_cast<size_t>(logits.cols)});
  }
  if (logit_row != logits.rows) return absl::InternalError("fake model: logit rows are wrong");
  return absl::OkStatus();
}

PromptImage FakeImage(int64_t first_token, int64_t tiles_across, int64_t tiles_down, uint8_t seed) {
  PromptImage image;
  image.first_token = first_token;
  image.tiles_across = tiles_across;
  image.tiles_down = tiles_down;
  image.num_tokens = 3 + 2 * tiles_across * tiles_down;
  const int64_t bytes = (1 + tiles_across * tiles_down) * 3 * FakeModel::kSide * FakeModel::kSide;
  for (int64_t i = 0; i < bytes; ++i) {
    image.tiles.push_back(static_cast<uint8_t>(Mix(seed, static_cast<uint64_t>(i))));
  }
  image.identity.fill(seed);
  image.identity[0] = static_cast<uint8_t>(tiles_across);
  image.identity[1] = static_cast<uint8_t>(tiles_down);
  return image;
}

std::vector<int32_t> ExpectedAnswer(const GenerationRequest& request,
                                    const FakeModelOptions& options) {
  std::vector<int32_t> tokens = request.token_ids;
  std::vector<float> logits(options.vocab_size);
  std::vector<float> scratch;
  for (;;) {
    uint64_t hash = 99;
    for (size_t position = 0; position < tokens.size(); ++position) {
      uint64_t value = ValueOfToken(tokens[position]);
      for (const PromptImage& image : request.images) {
        const int64_t row = static_cast<int64_t>(position) - image.first_token;
        if (row < 0 || row >= image.num_tokens) continue;
        float features[FakeModel::kHidden];
        for (int64_t col = 0; col < FakeModel::kHidden; ++col) {
          features[col] = Feature(HashPixels(image.tiles), row, col);
        }
        value = ValueOfFeatures(features);
      }
      for (int64_t layer = 0; layer < 2; ++layer) {
        hash = Mix(hash, PageValue(value, static_cast<int64_t>(position), layer));
      }
    }
    FillLogits(hash, absl::MakeSpan(logits));
    const int64_t generated = static_cast<int64_t>(tokens.size()) - request.num_prompt_tokens;
    const bool may_stop = !request.sampling.ignore_eos;
    std::vector<int32_t> forbidden;
    if (may_stop && generated < request.sampling.min_tokens) forbidden = request.stop_token_ids;
    tokens.push_back(
        SampleToken(logits, tokens, request.num_prompt_tokens, forbidden, request.sampling, scratch)
            .id);
    if (generated + 1 == request.sampling.max_tokens) break;
    if (may_stop && absl::c_linear_search(request.stop_token_ids, tokens.back())) break;
  }
  return {tokens.begin() + static_cast<int64_t>(request.token_ids.size()), tokens.end()};
}

}  // namespace tessera::engine::testing
