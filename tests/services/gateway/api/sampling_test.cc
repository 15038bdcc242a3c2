#include "services/gateway/api/sampling.h"

#include <gtest/gtest.h>

namespace tessera::gateway {
namespace {

TEST(Sampling, DefaultsArePlainGreedy) {
  const auto decode = ResolveSampling({}, 100, 4096, 1, 77);
  ASSERT_TRUE(decode.ok());
  EXPECT_EQ(decode->max_tokens(), 512);
  EXPECT_EQ(decode->temperature(), 0);
  EXPECT_EQ(decode->top_p(), 1);
  EXPECT_EQ(decode->repetition_penalty(), 1);
  EXPECT_EQ(decode->num_logprobs(), -1);
  EXPECT_EQ(decode->seed(), 77u);
  EXPECT_EQ(decode->stop_token_ids(0), 1);
}

TEST(Sampling, TheDefaultLengthIsWhatTheContextLeaves) {
  EXPECT_EQ(ResolveSampling({}, 4000, 4096, 1, 0)->max_tokens(), 96);
}

TEST(Sampling, TooLongSaysTheRest) {
  v1::SamplingParameters sampling;
  sampling.set_max_tokens(97);
  EXPECT_EQ(ResolveSampling(sampling, 4000, 4096, 1, 0).status().message(),
            "sampling.max_tokens: 97 is more than the 96 tokens that the prompt of 4000 leaves of "
            "the context of 4096");
  sampling.set_max_tokens(96);
  EXPECT_TRUE(ResolveSampling(sampling, 4000, 4096, 1, 0).ok());
}

}  // namespace
}  // namespace tessera::gateway
