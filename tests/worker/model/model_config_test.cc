#include "worker/model/model_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tessera::model {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// The least that is accepted.
json Minimal() {
  return {{"architectures", {"DeepseekVLV2ForCausalLM"}},
          {"tile_tag", "2D"},
          {"projector_config", {{"n_embed", 4096}, {"input_dim", 1024}}},
          {"language_config", json::object()}};
}

absl::StatusOr<ModelConfig> Parse(const json& config) { return ParseModelConfig(config.dump()); }

void ExpectError(const json& config, absl::StatusCode code, const std::string& words) {
  const auto parsed = Parse(config);
  ASSERT_EQ(parsed.status().code(), code) << parsed.status() << config.dump();
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(words));
}

void ExpectLanguageError(const char* key, const json& value, const std::string& words) {
  json config = Minimal();
  config["language_config"][key] = value;
  ExpectError(config, absl::StatusCode::kInvalidArgument, words);
}

// golden README, points 21, 22 and 31
TEST(ModelConfig, AbsentKeysHaveTheOfficialClassesDefaults) {
  const auto config = Parse(Minimal());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vision.image_size, 384);
  EXPECT_EQ(config->vision.patch_size, 16);
  EXPECT_EQ(config->vision.width, 1024);
  EXPECT_EQ(config->vision.layers, 24);
  EXPECT_EQ(config->vision.heads, 16);
  EXPECT_EQ(config->vision.mlp_width(), 4096);
  EXPECT_EQ(config->projector.depth, 2);
  EXPECT_EQ(config->projector.mlp_ratio, 1);
  EXPECT_EQ(config->projector.downsample_ratio, 2);
  const LanguageConfig& language = config->language;
  EXPECT_EQ(language.vocab_size, 102400);
  EXPECT_EQ(language.hidden_size, 4096);
  EXPECT_EQ(language.intermediate_size, 11008);
  EXPECT_EQ(language.moe_intermediate_size, 1407);
  EXPECT_EQ(language.num_hidden_layers, 30);
  EXPECT_EQ(language.num_attention_heads, 32);
  EXPECT_EQ(language.kv_lora_rank, 512);
  EXPECT_EQ(language.q_lora_rank, 1536);
  EXPECT_EQ(language.qk_rope_head_dim, 64);
  EXPECT_EQ(language.qk_nope_head_dim, 128);
  EXPECT_EQ(language.v_head_dim, 128);
  EXPECT_EQ(language.max_position_embeddings, 2048);
  EXPECT_EQ(language.rope_theta, 10000);
  EXPECT_EQ(language.rms_norm_eps, 1e-6);
  EXPECT_EQ(language.bos_token_id, 100000);
  EXPECT_EQ(language.eos_token_id, 100001);
  EXPECT_TRUE(language.use_mla);
  EXPECT_FALSE(language.tie_word_embeddings);
  EXPECT_FALSE(language.norm_topk_prob);
  EXPECT_EQ(language.scoring, kernels::GateScoring::kSoftmax);
  EXPECT_FALSE(language.n_routed_experts.has_value());
  EXPECT_FALSE(language.n_shared_experts.has_value());
  EXPECT_FALSE(language.IsMoeLayer(5));
  EXPECT_TRUE(config->global_view_first);
}

TEST(ModelConfig, ReadsTheGoldenModels) {
  const std::string models = TESSERA_FIXTURES "/golden/models/";
  const auto base = ReadModelConfig(models + "base_noaux");
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ(base->language.gate_method, kernels::GateMethod::kNoAuxTc);
  EXPECT_EQ(base->language.scoring, kernels::GateScoring::kSigmoid);
  EXPECT_FALSE(base->language.q_lora_rank.has_value());  // an explicit null
  EXPECT_EQ(base->vision.mlp_width(), 239);              // int(64 * 3.7362)
  EXPECT_EQ(base->vision.grid(), 27);
  const auto tail = ReadModelConfig(models + "group_limited");
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_FALSE(tail->global_view_first);
  EXPECT_EQ(tail->language.n_group, 4);
  EXPECT_TRUE(tail->language.IsMoeLayer(2));
  EXPECT_FALSE(tail->language.IsMoeLayer(1));
  const auto freq = ReadModelConfig(models + "qlora_bias_p16");
  ASSERT_TRUE(freq.ok()) << freq.status();
  EXPECT_EQ(freq->vision.image_size, 112);
  EXPECT_TRUE(freq->language.IsMoeLayer(2));
  EXPECT_FALSE(freq->language.IsMoeLayer(3));
  const auto yarn = ReadModelConfig(models + "yarn_f32");
  ASSERT_TRUE(yarn.ok()) << yarn.status();
  ASSERT_TRUE(yarn->language.yarn.has_value());
  EXPECT_EQ(yarn->language.yarn->factor, 8);
  EXPECT_EQ(yarn->language.yarn->original_max_position_embeddings, 512);
  const auto tied = ReadModelConfig(models + "tied_gqa");
  ASSERT_TRUE(tied.ok()) << tied.status();
  EXPECT_TRUE(tied->language.tie_word_embeddings);
  EXPECT_FALSE(tied->language.n_shared_experts.has_value());
}

TEST(ModelConfig, RefusesWhatTheFamilyDoesNotHave) {
  json config = Minimal();
  config["architectures"] = {"LlamaForCausalLM"};
  ExpectError(config, absl::StatusCode::kUnimplemented, "architectures names \"LlamaForCausalLM\"");
  config = Minimal();
  config.erase("architectures");
  ExpectError(config, absl::StatusCode::kUnimplemented, "model_type");
  config["model_type"] = "deepseek_vl_v2";  // published files exist that say only this
  EXPECT_TRUE(Parse(config).ok());
  config = Minimal();
  config["tile_tag"] = "1D";
  ExpectError(config, absl::StatusCode::kUnimplemented, "tile_tag is \"1D\"; supported: 2D");
  config = Minimal();
  config.erase("tile_tag");
  ExpectError(config, absl::StatusCode::kUnimplemented, "tile_tag");
  config = Minimal();
  config["vision_config"]["model_name"] = "clip";
  ExpectError(config, absl::StatusCode::kUnimplemented, "vision_config.model_name is \"clip\"");
  config = Minimal();
  config["projector_config"]["projector_type"] = "linear";
  ExpectError(config, absl::StatusCode::kUnimplemented, "projector_type");
  for (const auto& [key, value] :
       std::map<std::string, json>{{"topk_method", "random"},
                                   {"scoring_func", "relu"},
                                   {"hidden_act", "gelu"},
                                   {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}) {
    config = Minimal();
    config["language_config"][key] = value;
    ExpectError(config, absl::StatusCode::kUnimplemented, key);
  }
  config = Minimal();
  config["language_config"] = {{"use_mla", false},
                               {"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}}}};
  ExpectError(config, absl::StatusCode::kUnimplemented, "use_mla false");
}

TEST(ModelConfig, NamesKeyValueAndBound) {
  ExpectLanguageError("hidden_size", -3,
                      "language_config.hidden_size is -3; must be an integer in 1..65536");
  ExpectLanguageError("hidden_size", "wide", "language_config.hidden_size is \"wide\"");
  ExpectLanguageError("hidden_size", nullptr, "language_config.hidden_size is null");
  ExpectLanguageError("hidden_size", 1.5, "hidden_size is 1.5");
  ExpectLanguageError("hidden_size", uint64_t{18446744073709551615u},
                      "hidden_size is 18446744073709551615");
  ExpectLanguageError("vocab_size", 0, "vocab_size is 0");
  ExpectLanguageError("num_hidden_layers", 1 << 30, "num_hidden_layers");
  ExpectLanguageError("rms_norm_eps", "x", "rms_norm_eps");
  ExpectLanguageError("use_mla", 1, "use_mla is 1; must be true or false");
  ExpectLanguageError("qk_rope_head_dim", 7, "qk_rope_head_dim is 7; must be even");
  ExpectLanguageError("kv_lora_rank", nullptr,
                      "kv_lora_rank is 0; must be at least 1 with use_mla true");
  ExpectLanguageError("n_routed_experts", 513,
                      "n_routed_experts is 513; must be null or an integer in 1..512");
  ExpectLanguageError("n_routed_experts", 8,
                      "num_experts_per_tok is 0; must be in 1..n_routed_experts (8)");
  ExpectLanguageError("rope_scaling", 3, "rope_scaling");
  ExpectLanguageError("moe_layer_freq", 0, "moe_layer_freq");
}

TEST(ModelConfig, ChecksDimensionsThatMustDivide) {
  json config = Minimal();
  config["vision_config"] = {{"width", 1024}, {"heads", 3}};
  ExpectError(config, absl::StatusCode::kInvalidArgument,
              "vision_config.width is 1024; must be a multiple of heads (3)");
  config = Minimal();
  config["vision_config"] = {{"patch_size", 200}, {"image_size", 100}};
  ExpectError(config, absl::StatusCode::kInvalidArgument, "patch_size");
  config = Minimal();
  config["projector_config"]["n_embed"] = 64;
  ExpectError(config, absl::StatusCode::kInvalidArgument,
              "n_embed is 64; must be language_config.hidden_size (4096)");
  config = Minimal();
  config["projector_config"]["input_dim"] = 64;
  ExpectError(config, absl::StatusCode::kInvalidArgument,
              "input_dim is 64; must be vision_config.width (1024)");
  config = Minimal();
  config["language_config"] = {
      {"use_mla", false}, {"num_attention_heads", 10}, {"num_key_value_heads", 10}};
  ExpectError(config, absl::StatusCode::kInvalidArgument, "a multiple of num_attention_heads (10)");
  config["language_config"] = {
      {"use_mla", false}, {"num_attention_heads", 16}, {"num_key_value_heads", 5}};
  ExpectError(config, absl::StatusCode::kInvalidArgument, "a multiple of num_key_value_heads (5)");
  config["language_config"] = {{"n_routed_experts", 8},
                               {"num_experts_per_tok", 2},
                               {"topk_method", "noaux_tc"},
                               {"n_group", 3}};
  ExpectError(config, absl::StatusCode::kInvalidArgument, "a divisor of n_routed_experts (8)");
  config["language_config"]["n_group"] = 8;
  ExpectError(config, absl::StatusCode::kInvalidArgument, "two experts");
  config["language_config"]["n_group"] = 2;
  config["language_config"]["topk_group"] = 3;
  ExpectError(config, absl::StatusCode::kInvalidArgument,
              "topk_group is 3; must be at most n_group (2)");
}

TEST(ModelConfig, RefusesTextThatIsNoConfig) {
  for (const char* text : {"", "[]", "{", "null", "{\"a\":", "\xff\xfe"}) {
    EXPECT_EQ(ParseModelConfig(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  json config = Minimal();
  config.erase("language_config");
  ExpectError(config, absl::StatusCode::kInvalidArgument, "language_config is missing");
  config["language_config"] = {1};
  ExpectError(config, absl::StatusCode::kInvalidArgument, "language_config is not an object");
  EXPECT_EQ(ReadModelConfig(TESSERA_FIXTURES "/no_such_folder").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tessera::model
