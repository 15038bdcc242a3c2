#include "worker/model/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tessera::model {
namespace {

// m(s) = 0.1 s ln(factor) + 1
double YarnMagnitude(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// The dimension whose wave turns `rotations` times over the original context.
double CorrectionDim(double rotations, int64_t dim, double theta, int64_t original_positions) {
  return static_cast<double>(dim) *
         std::log(static_cast<double>(original_positions) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(theta));
}

// Frequencies as the reference has them: float32 at each step, since a position multiplies their
// rounding.
std::vector<float> Frequencies(const LanguageConfig& config, int64_t dim) {
  std::vector<float> frequencies(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    frequencies[i] =
        1.0f / static_cast<float>(std::pow(config.rope_theta, static_cast<double>(exponent)));
  }
  if (!config.yarn.has_value()) return frequencies;
  const YarnConfig& yarn = *config.yarn;
  const int64_t positions = yarn.original_max_position_embeddings;
  const double low =
      std::max(std::floor(CorrectionDim(yarn.beta_fast, dim, config.rope_theta, positions)), 0.0);
  double high =
      std::min(std::ceil(CorrectionDim(yarn.beta_slow, dim, config.rope_theta, positions)),
               static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // the reference's guard against dividing by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const auto ramp =
        static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    const float stretched = frequencies[i] / static_cast<float>(yarn.factor);
    frequencies[i] = stretched * ramp + frequencies[i] * (1.0f - ramp);
  }
  return frequencies;
}

}  // namespace

RotaryTables::RotaryTables(const LanguageConfig& config)
    : max_positions_(config.max_position_embeddings),
      rotary_dim_(config.use_mla ? config.qk_rope_head_dim : config.head_dim()) {
  const std::vector<float> frequencies = Frequencies(config, rotary_dim_);
  float magnitude = 1.0f;
  if (config.yarn.has_value()) {
    magnitude = static_cast<float>(YarnMagnitude(config.yarn->factor, config.yarn->mscale) /
                                   YarnMagnitude(config.yarn->factor, config.yarn->mscale_all_dim));
  }
  cos_.reserve(static_cast<size_t>(max_positions_) * frequencies.size());
  sin_.reserve(static_cast<size_t>(max_positions_) * frequencies.size());
  for (int64_t position = 0; position < max_positions_; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      cos_.push_back(static_cast<float>(std::cos(static_cast<double>(angle))) * magnitude);
      sin_.push_back(static_cast<float>(std::sin(static_cast<double>(angle))) * magnitude);
    }
  }
}

float SoftmaxScale(const LanguageConfig& config) {
  const int64_t dim =
      config.use_mla ? config.qk_nope_head_dim + config.qk_rope_head_dim : config.head_dim();
  double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  if (config.yarn.has_value() && config.yarn->mscale_all_dim != 0) {
    const double magnitude = YarnMagnitude(config.yarn->factor, config.yarn->mscale_all_dim);
    scale *= magnitude * magnitude;
  }
  return static_cast<float>(scale);
}

}  // namespace tessera::model
