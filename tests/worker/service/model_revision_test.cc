#include "worker/service/model_revision.h"

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"
#include "services/gateway/prompt/prompt.h"

namespace tessera::worker {
namespace {

TEST(ModelRevision, IsTheGatewaysToo) {
  for (const char* name : {"tiny_mha", "base_noaux"}) {
    SCOPED_TRACE(name);
    const std::string dir = std::string(TESSERA_FIXTURES "/golden/models/") + name;
    const auto processor = prompt::PromptProcessor::Load(dir);
    ASSERT_TRUE(processor.ok()) << processor.status();
    const auto revision = ModelRevision(dir);
    ASSERT_TRUE(revision.ok()) << revision.status();
    EXPECT_EQ(HexString(*revision), HexString((*processor)->model_revision()));
  }
}

TEST(ModelRevision, AFolderWithoutConfigIsRefused) {
  EXPECT_EQ(ModelRevision(TESSERA_FIXTURES).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tessera::worker
