// Folders that are damaged in one place each: the error says where, and nothing crashes.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "nlohmann/json.hpp"
#include "worker/model/model.h"
#include "worker/model/safetensors.h"

namespace tessera::model {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kShard2[] = "model-00002-of-00003.safetensors";

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A copy of base_noaux (three shards) that a test damages.
class DamagedCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "tessera_checkpoint_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    for (const char* file : {"config.json", kIndex, "model-00001-of-00003.safetensors", kShard2,
                             "model-00003-of-00003.safetensors"}) {
      WriteFile(Path(file),
                ReadFile(std::string(TESSERA_FIXTURES "/golden/models/base_noaux/") + file));
      files_.push_back(file);
    }
  }
  void TearDown() override {
    for (const std::string& file : files_) unlink(Path(file).c_str());
    rmdir(folder_.c_str());
  }

  std::string Path(const std::string& file) const { return folder_ + "/" + file; }

  absl::StatusOr<std::unique_ptr<VlModel>> Load() {
    LoadOptions options;
    options.table = kernels::KernelsFor(kernels::Backend::kReference);
    options.pool = &pool_;
    return VlModel::Load(folder_, options);
  }

  void ExpectError(absl::StatusCode code, const std::string& words) {
    const absl::Status status = Load().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_THAT(std::string(status.message()),
                testing::Not(HasSubstr(folder_)));  // no host paths in errors
  }

  // Rewrites the JSON header of a shard in place, data kept.
  template <typename Edit>
  void EditHeader(const std::string& shard, Edit&& edit) {
    const std::string file = ReadFile(Path(shard));
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(file[i]);
    json header = json::parse(file.substr(8, length));
    edit(header);
    const std::string text = header.dump();
    std::string out;
    for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(text.size() >> (8 * i) & 0xff));
    WriteFile(Path(shard), out + text + file.substr(8 + length));
  }

  kernels::ThreadPool pool_{2};
  std::string folder_;
  std::vector<std::string> files_;
};

TEST_F(DamagedCheckpoint, LoadsUndamaged) { EXPECT_TRUE(Load().ok()) << Load().status(); }

TEST_F(DamagedCheckpoint, NamesAMissingShard) {
  unlink(Path(kShard2).c_str());
  ExpectError(absl::StatusCode::kNotFound, kShard2);
}

TEST_F(DamagedCheckpoint, NamesATruncatedShard) {
  const std::string file = ReadFile(Path(kShard2));
  WriteFile(Path(kShard2), file.substr(0, file.size() / 2));
  ExpectError(absl::StatusCode::kInvalidArgument, std::string(kShard2) + ": safetensors header");
  WriteFile(Path(kShard2), file.substr(0, 5));
  ExpectError(absl::StatusCode::kInvalidArgument, "too few");
  WriteFile(Path(kShard2), file.substr(0, 100));
  ExpectError(absl::StatusCode::kInvalidArgument, "past the end");
}

TEST_F(DamagedCheckpoint, NamesALyingHeader) {
  EditHeader(kShard2, [](json& header) {
    auto& offsets = header["language.model.layers.0.input_layernorm.weight"]["data_offsets"];
    offsets = {int64_t{1} << 60, (int64_t{1} << 60) + 160};
  });
  ExpectError(absl::StatusCode::kInvalidArgument, "language.model.layers.0.input_layernorm.weight");
}

TEST_F(DamagedCheckpoint, NamesAWrongShape) {
  EditHeader(kShard2, [](json& header) {
    header["language.model.layers.0.mlp.gate_proj.weight"]["shape"] = {80, 128};
  });
  ExpectError(absl::StatusCode::kInvalidArgument,
              "\"language.model.layers.0.mlp.gate_proj.weight\" has shape [80, 128]; config.json "
              "asks for [128, 80]");
}

TEST_F(DamagedCheckpoint, NamesAWrongDType) {
  EditHeader(kShard2, [](json& header) {
    header["language.model.layers.0.mlp.gate_proj.weight"]["dtype"] = "I16";
  });
  ExpectError(absl::StatusCode::kInvalidArgument, "must be F32, F16 or BF16");
}

TEST_F(DamagedCheckpoint, NamesATensorThatItsShardLacks) {
  EditHeader(kShard2,
             [](json& header) { header.erase("language.model.layers.0.mlp.gate_proj.weight"); });
  ExpectError(
      absl::StatusCode::kNotFound,
      std::string(kShard2) + ": no tensor \"language.model.layers.0.mlp.gate_proj.weight\"");
}

TEST_F(DamagedCheckpoint, NamesATensorThatTheIndexLacks) {
  json index = json::parse(ReadFile(Path(kIndex)));
  index["weight_map"].erase("language.lm_head.weight");
  WriteFile(Path(kIndex), index.dump());
  ExpectError(absl::StatusCode::kNotFound, "no tensor \"language.lm_head.weight\"");
}

TEST_F(DamagedCheckpoint, RefusesShardNamesThatLeaveTheFolder) {
  const std::string good = ReadFile(Path(kIndex));
  for (const std::string name : {"../model.safetensors", "/etc/passwd", "a/b", "..", "", "."}) {
    json index = json::parse(good);
    index["weight_map"]["image_newline"] = name;
    WriteFile(Path(kIndex), index.dump());
    ExpectError(absl::StatusCode::kInvalidArgument, "not a plain file name");
  }
  WriteFile(Path(kIndex), "{}");
  ExpectError(absl::StatusCode::kInvalidArgument, "weight_map");
}

TEST_F(DamagedCheckpoint, SaysThatThereIsNoCheckpoint) {
  unlink(Path(kIndex).c_str());
  ExpectError(absl::StatusCode::kNotFound,
              "neither model.safetensors.index.json nor model.safetensors");
  unlink(Path("config.json").c_str());
  ExpectError(absl::StatusCode::kNotFound, "config.json");
}

TEST_F(DamagedCheckpoint, NamesAnUnknownArchitecture) {
  json config = json::parse(ReadFile(Path("config.json")));
  config["architectures"] = {"LlavaForConditionalGeneration"};
  WriteFile(Path("config.json"), config.dump());
  ExpectError(absl::StatusCode::kUnimplemented, "LlavaForConditionalGeneration");
}

TEST_F(DamagedCheckpoint, ReadsTensorsAtOddAddresses) {
  // One blank more in each header moves all data by a byte.
  for (const char* shard :
       {"model-00001-of-00003.safetensors", kShard2, "model-00003-of-00003.safetensors"}) {
    EditHeader(shard, [](json& header) {
      if (header.dump().size() % 2 == 0) header["__metadata__"]["pad"] = "x";
    });
    EditHeader(shard, [](json& header) {
      if (header.dump().size() % 2 == 0) header["__metadata__"]["pad"] = "xy";
    });
  }
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_GT((*model)->weight_bytes(), 0);
}

TEST(Checkpoint, OpensASingleFileWithoutAnIndex) {
  std::string name = testing::TempDir() + "tessera_single_XXXXXX";
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  const std::string path = name + "/model.safetensors";
  const std::string header = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  WriteFile(path, file + header + "abcd");
  {
    const auto checkpoint = Checkpoint::Open(name);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_TRUE((*checkpoint)->Contains("a"));
    EXPECT_FALSE((*checkpoint)->Contains("b"));
    EXPECT_EQ((*checkpoint)->total_tensor_bytes(), 4);
    const auto tensor = (*checkpoint)->Find("a");
    ASSERT_TRUE(tensor.ok());
    EXPECT_EQ(std::string(tensor->data, tensor->data + 4), "abcd");
    (*checkpoint)->Release(*tensor);
    EXPECT_EQ(std::string(tensor->data, tensor->data + 4), "abcd");  // read again from the file
  }
  unlink(path.c_str());
  rmdir(name.c_str());
}

}  // namespace
}  // namespace tessera::model
