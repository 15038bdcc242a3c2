#include "services/cli/check/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tessera::check {

double MaxAbsoluteError(absl::Span<const float> ours, absl::Span<const double> theirs) {
  if (ours.size() != theirs.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double error = std::abs(static_cast<double>(ours[i]) - theirs[i]);
    if (std::isnan(error)) return error;
    worst = std::max(worst, error);
  }
  return worst;
}

double MinCosine(absl::Span<const float> ours, absl::Span<const double> theirs, int64_t cols) {
  if (ours.size() != theirs.size() || cols < 1) return -std::numeric_limits<double>::infinity();
  double worst = 1;
  for (size_t begin = 0; begin + static_cast<size_t>(cols) <= ours.size();
       begin += static_cast<size_t>(cols)) {
    double dot = 0, ours_norm = 0, theirs_norm = 0;
    for (size_t i = begin; i < begin + static_cast<size_t>(cols); ++i) {
      dot += ours[i] * theirs[i];
      ours_norm += static_cast<double>(ours[i]) * ours[i];
      theirs_norm += theirs[i] * theirs[i];
    }
    if (ours_norm == 0 && theirs_norm == 0) continue;
    const double cosine = dot / std::sqrt(ours_norm * theirs_norm);
    if (std::isnan(cosine)) return cosine;
    worst = std::min(worst, cosine);
  }
  return worst;
}

int64_t CountMismatches(absl::Span<const int32_t> ours, absl::Span<const int32_t> theirs) {
  const size_t common = std::min(ours.size(), theirs.size());
  auto count = static_cast<int64_t>(std::max(ours.size(), theirs.size()) - common);
  for (size_t i = 0; i < common; ++i) count += ours[i] != theirs[i] ? 1 : 0;
  return count;
}

}  // namespace tessera::check
