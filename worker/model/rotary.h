// Rotary position tables, plain and YaRN.
#ifndef TESSERA_WORKER_MODEL_ROTARY_H_
#define TESSERA_WORKER_MODEL_ROTARY_H_

#include <vector>

#include "kernels/kernels.h"
#include "worker/model/model_config.h"

namespace tessera::model {

// Owns cos and sin [max_positions, rotary_dim / 2].
class RotaryTables {
 public:
  explicit RotaryTables(const LanguageConfig& config);
  kernels::RopeTable view() const {
    return {cos_.data(), sin_.data(), max_positions_, rotary_dim_};
  }

 private:
  int64_t max_positions_;
  int64_t rotary_dim_;
  std::vector<float> cos_;
  std::vector<float> sin_;
};

// Factor of the attention scores: head_dim^-0.5, and YaRN's square of m(mscale_all_dim) where the
// config has one.
float SoftmaxScale(const LanguageConfig& config);

}  // namespace tessera::model

#endif  // TESSERA_WORKER_MODEL_ROTARY_H_
