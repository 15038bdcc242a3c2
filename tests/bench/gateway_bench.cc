// What the gateway adds before the model runs: CountTokens over gRPC, that is RPC, picture
// decoding, tiling and tokenizing.
//
//   gateway_bench HOST:PORT PICTURE [REPEATS]      against a running cluster; prints minimum,
//   median and maximum in milliseconds
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tessera/v1/inference.grpc.pb.h"

namespace {

using tessera::v1::CountTokensRequest;
using tessera::v1::InferenceService;

constexpr int kWarmUp = 5;

bool Measure(const char* name, InferenceService::Stub& stub, const CountTokensRequest& request,
             int repeats) {
  std::vector<double> times_ms;
  tessera::v1::CountTokensResponse response;
  for (int i = 0; i < repeats + kWarmUp; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    const auto start = std::chrono::steady_clock::now();
    const grpc::Status status = stub.CountTokens(&context, request, &response);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (!status.ok()) {
      std::fprintf(stderr, "%s: %s\n", name, status.error_message().c_str());
      return false;
    }
    if (i >= kWarmUp) times_ms.push_back(took.count());
  }
  std::sort(times_ms.begin(), times_ms.end());
  std::printf("%-8s %5d prompt tokens   min %.2f   median %.2f   max %.2f ms\n", name,
              response.prompt_tokens(), times_ms.front(), times_ms[times_ms.size() / 2],
              times_ms.back());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: gateway_bench HOST:PORT PICTURE [REPEATS]\n");
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  const std::string picture((std::istreambuf_iterator<char>(file)),
                            std::istreambuf_iterator<char>());
  const int repeats = argc > 3 ? std::max(1, std::atoi(argv[3])) : 100;
  const auto stub =
      InferenceService::NewStub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  CountTokensRequest text;
  tessera::v1::Message& message = *text.add_messages();
  message.set_role(tessera::v1::ROLE_USER);
  message.add_content()->set_text(
      "How many giraffes are there, and which of them is nearest to the tree?");
  CountTokensRequest with_picture = text;
  with_picture.mutable_messages(0)->add_content()->mutable_image()->set_data(picture);
  return Measure("text", *stub, text, repeats) && Measure("picture", *stub, with_picture, repeats)
             ? 0
             : 1;
}
