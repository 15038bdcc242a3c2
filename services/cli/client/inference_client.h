// The public API as the command line uses it.
#ifndef TESSERA_SERVICES_CLI_CLIENT_INFERENCE_CLIENT_H_
#define TESSERA_SERVICES_CLI_CLIENT_INFERENCE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tessera/v1/inference.pb.h"

namespace tessera::cli {

// What came of one call, also of one that broke off: then up to where it broke.
struct Answer {
  v1::Started started;
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<v1::Box> boxes;
  v1::Finished finished;
  v1::Usage usage;
};

// One call at a time; Cancel from any thread.
class InferenceClient {
 public:
  // address: host:port, without TLS. Opens nothing yet. INVALID_ARGUMENT: not an address.
  static absl::StatusOr<std::unique_ptr<InferenceClient>> Connect(const std::string& address);
  virtual ~InferenceClient() = default;

  // The health service says SERVING before the deadline.
  virtual bool IsServing(absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::Model> GetModel(absl::Time deadline) = 0;
  // The first choice's answer. on_text gets each piece of text as it comes, on this thread. Errors
  // are the server's, and UNAVAILABLE if nobody listens at the address.
  virtual absl::Status Generate(const v1::GenerateRequest& request, absl::Time deadline,
                                const std::function<void(const std::string& text)>& on_text,
                                Answer* answer) = 0;
  // The call in progress ends with CANCELLED; without one, nothing happens.
  virtual void Cancel() = 0;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_CLIENT_INFERENCE_CLIENT_H_
