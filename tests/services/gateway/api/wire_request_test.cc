#include "services/gateway/api/wire_request.h"

#include <gtest/gtest.h>

#include "tessera/v1/inference.pb.h"

namespace tessera::gateway {
namespace {

TEST(WireRequest, FindsTheFieldThatIsNoText) {
  v1::GenerateRequest request;
  for (int i = 0; i < 3; ++i) {
    v1::Message& message = *request.add_messages();
    message.set_role(v1::ROLE_USER);
    message.add_content()->mutable_image()->set_data("\xff\xfe is fine in bytes");
    message.add_content()->set_text(i == 2 ? "ab@" : "fine");
  }
  std::string bytes = request.SerializeAsString();
  size_t offset = 0;
  EXPECT_EQ(FindInvalidText(bytes, *v1::GenerateRequest::descriptor(), &offset), "");
  bytes[bytes.find('@')] = '\xc3';
  EXPECT_EQ(FindInvalidText(bytes, *v1::GenerateRequest::descriptor(), &offset),
            "messages[2].content[1].text");
  EXPECT_EQ(offset, 2u);
}

TEST(WireRequest, SurvivesTruncationAtEveryByte) {
  v1::GenerateRequest request;
  request.set_model("m");
  request.add_messages()->add_content()->set_text("hello");
  const std::string bytes = request.SerializeAsString();
  size_t offset = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(FindInvalidText(bytes.substr(0, size), *v1::GenerateRequest::descriptor(), &offset),
              "");
  }
}

}  // namespace
}  // namespace tessera::gateway
