#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "services/rpc/grpc_status.h"
#include "services/rpc/status_details.h"

namespace tessera::rpc {
namespace {

TEST(GrpcStatus, CodesAndMessagesSurviveBothWays) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "reason");
    const grpc::Status sent = ToGrpcStatus(status);
    EXPECT_EQ(static_cast<int>(sent.error_code()), code);
    EXPECT_TRUE(sent.error_details().empty());
    EXPECT_EQ(FromGrpcStatus(sent), status);
  }
}

TEST(GrpcStatus, UnknownCodesAndBrokenDetailsAreHarmless) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(static_cast<grpc::StatusCode>(77), "odd", "\xff\xff\xff"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(status.message(), "odd");
}

TEST(GrpcStatus, DetailsTravel) {
  absl::Status status = BadFieldError("sampling.top_p", "1.5 is not in (0, 1]");
  status = WithReason(WithRetryDelay(status, absl::Milliseconds(1250)), "SOME_REASON");
  const absl::Status received = FromGrpcStatus(ToGrpcStatus(status));
  EXPECT_EQ(received.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(received.message(), "sampling.top_p: 1.5 is not in (0, 1]");
  ASSERT_EQ(FieldViolationsOf(received).size(), 1u);
  EXPECT_EQ(FieldViolationsOf(received)[0].field, "sampling.top_p");
  EXPECT_EQ(FieldViolationsOf(received)[0].description, "1.5 is not in (0, 1]");
  EXPECT_EQ(RetryDelayOf(received), absl::Milliseconds(1250));
  EXPECT_EQ(ReasonOf(received), "SOME_REASON");
}

// Byte for byte what the public messages would be: a stranger decodes it with his own copy.
TEST(GrpcStatus, DetailsHaveThePublicWireFormat) {
  const grpc::Status sent =
      ToGrpcStatus(WithRetryDelay(absl::ResourceExhaustedError("full"), absl::Seconds(2)));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(sent.error_details()));
  EXPECT_EQ(details.code(), 8);
  EXPECT_EQ(details.message(), "full");
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  EXPECT_EQ(details.details(0).value(), std::string("\x0a\x02\x08\x02", 4));
}

TEST(GrpcStatus, WithoutDetailsThereAreNone) {
  const absl::Status status = absl::InternalError("x");
  EXPECT_TRUE(FieldViolationsOf(status).empty());
  EXPECT_FALSE(RetryDelayOf(status).has_value());
  EXPECT_EQ(ReasonOf(status), "");
}

TEST(GrpcStatus, MessagesAreAlwaysValidText) {
  const grpc::Status sent = ToGrpcStatus(BadFieldError("x", "bad bytes \xff\xfe"));
  EXPECT_EQ(sent.error_message(), "x: bad bytes ??");
}

}  // namespace
}  // namespace tessera::rpc
