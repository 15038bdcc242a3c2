#include "services/gateway/prompt/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "services/base/check.h"
#include "services/gateway/prompt/resample_kernels.h"

namespace tessera::prompt {
namespace {

constexpr int32_t kHalf = 1 << (kCoefficientBits - 1);

double Bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

int32_t ToFixed(double weight) {
  const double scaled = weight * (1 << kCoefficientBits);
  return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

AxisWindows MakeWindows(int64_t in_size, int64_t out_size) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  const double inverse = 1.0 / filter_scale;
  AxisWindows windows;
  windows.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  windows.first.resize(static_cast<size_t>(out_size));
  windows.count.resize(static_cast<size_t>(out_size));
  windows.coefficients.assign(static_cast<size_t>(out_size * windows.stride), 0);
  std::vector<double> weights(static_cast<size_t>(windows.stride));
  for (int64_t i = 0; i < out_size; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t end = std::min(static_cast<int64_t>(center + support + 0.5), in_size);
    double sum = 0;
    for (int64_t k = 0; k < end - first; ++k) {
      const double weight = Bicubic((static_cast<double>(k + first) - center + 0.5) * inverse);
      weights[static_cast<size_t>(k)] = weight;
      sum += weight;
    }
    for (int64_t k = 0; k < end - first; ++k) {
      const double weight = weights[static_cast<size_t>(k)];
      windows.coefficients[static_cast<size_t>(i * windows.stride + k)] =
          ToFixed(sum != 0.0 ? weight / sum : weight);
    }
    windows.first[static_cast<size_t>(i)] = first;
    windows.count[static_cast<size_t>(i)] = end - first;
    windows.max_count = std::max(windows.max_count, end - first);
  }
  return windows;
}

uint8_t Clip(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kCoefficientBits, 0, 255));
}

// Gives rows of the picture after the horizontal pass; asked for in rising order, each row at most
// `kept` rows behind the newest.
class HorizontalRows {
 public:
  HorizontalRows(const Image& image, int64_t out_width, int64_t kept, bool avx2)
      : image_(image),
        same_width_(out_width == image.width),
        windows_(same_width_ ? AxisWindows{} : MakeWindows(image.width, out_width)),
        kernel_(windows_, avx2),
        kept_(kept),
        stride_(out_width * 3 + 16) {
    if (same_width_) return;
    padded_.resize(static_cast<size_t>(image.width) * 3 + kernel_.row_padding_bytes());
    rows_.resize(static_cast<size_t>(stride_ * kept_));
  }

  const uint8_t* Get(int64_t y) {
    const uint8_t* source = image_.rgb.data() + y * image_.width * 3;
    if (same_width_) return source;
    uint8_t* row = rows_.data() + y % kept_ * stride_;
    if (y > newest_) {
      std::memcpy(padded_.data(), source, static_cast<size_t>(image_.width) * 3);
      kernel_.Run(padded_.data(), row);
      newest_ = y;
    }
    return row;
  }

 private:
  const Image& image_;
  const bool same_width_;
  const AxisWindows windows_;
  const HorizontalKernel kernel_;
  const int64_t kept_;
  const int64_t stride_;  // bytes
  int64_t newest_ = -1;
  std::vector<uint8_t> padded_;
  std::vector<uint8_t> rows_;  // [kept, stride]
};

}  // namespace

HorizontalKernel::HorizontalKernel(const AxisWindows& windows, bool avx2)
    : windows_(windows), avx2_(avx2), groups_((windows.max_count + 3) / 4) {
  if (avx2_) split_ = SplitCoefficientsAvx2(windows_, groups_);
}

void HorizontalKernel::Run(const uint8_t* in, uint8_t* out) const {
  if (avx2_) {
    HorizontalAvx2(windows_, split_.data(), groups_, in, out);
    return;
  }
  for (size_t i = 0; i < windows_.first.size(); ++i) {
    const uint8_t* pixel = in + windows_.first[i] * 3;
    const int32_t* coefficient = &windows_.coefficients[i * static_cast<size_t>(windows_.stride)];
    int32_t sums[3] = {kHalf, kHalf, kHalf};
    for (int64_t k = 0; k < windows_.count[i]; ++k) {
      for (int c = 0; c < 3; ++c) sums[c] += pixel[3 * k + c] * coefficient[k];
    }
    for (int c = 0; c < 3; ++c) out[3 * i + c] = Clip(sums[c]);
  }
}

void VerticalPass(const uint8_t* const* rows, const int32_t* coefficients, int64_t count,
                  int64_t bytes, bool avx2, uint8_t* out) {
  constexpr int64_t kBlock = 64;
  int64_t done = avx2 ? VerticalAvx2(rows, coefficients, count, bytes, out) : 0;
  for (; done < bytes; done += kBlock) {
    const int64_t length = std::min(kBlock, bytes - done);
    int32_t sums[kBlock];
    std::fill(sums, sums + kBlock, kHalf);
    for (int64_t k = 0; k < count; ++k) {
      const uint8_t* row = rows[k] + done;
      for (int64_t i = 0; i < length; ++i) sums[i] += row[i] * coefficients[k];
    }
    for (int64_t i = 0; i < length; ++i) out[done + i] = Clip(sums[i]);
  }
}

void SplitChannels(const uint8_t* rgb, int64_t pixels, uint8_t* red, uint8_t* green,
                   uint8_t* blue) {
  for (int64_t i = HasAvx2() ? SplitChannelsAvx2(rgb, pixels, red, green, blue) : 0; i < pixels;
       ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

void ResampleBicubic(const Image& image, int64_t out_width, int64_t out_height, RowSink sink) {
  ResampleBicubicWith(image, out_width, out_height, HasAvx2(), sink);
}

void ResampleBicubicWith(const Image& image, int64_t out_width, int64_t out_height, bool avx2,
                         RowSink sink) {
  TESSERA_CHECK(out_width > 0 && out_height > 0) << out_width << " x " << out_height;
  if (out_height == image.height) {
    HorizontalRows horizontal(image, out_width, 1, avx2);
    for (int64_t y = 0; y < out_height; ++y) sink(y, horizontal.Get(y));
    return;
  }
  const AxisWindows windows = MakeWindows(image.height, out_height);
  HorizontalRows horizontal(image, out_width, windows.max_count, avx2);
  std::vector<const uint8_t*> rows(static_cast<size_t>(windows.max_count));
  std::vector<uint8_t> out(static_cast<size_t>(out_width) * 3);
  for (int64_t y = 0; y < out_height; ++y) {
    const size_t i = static_cast<size_t>(y);
    for (int64_t k = 0; k < windows.count[i]; ++k) {
      rows[static_cast<size_t>(k)] = horizontal.Get(windows.first[i] + k);
    }
    VerticalPass(rows.data(), &windows.coefficients[i * static_cast<size_t>(windows.stride)],
                 windows.count[i], out_width * 3, avx2, out.data());
    sink(y, out.data());
  }
}

}  // namespace tessera::prompt
