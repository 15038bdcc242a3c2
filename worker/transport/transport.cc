#include "worker/transport/transport.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "worker/transport/gloo_communicator.h"
#include "worker/transport/nccl_communicator.h"
#include "worker/transport/shm/shm_communicator.h"

namespace tessera::transport {
namespace {

absl::Status CheckOptions(std::string_view back_end, const ConnectOptions& options) {
  if (back_end != "auto" && back_end != "shm" && back_end != "gloo" && back_end != "nccl") {
    return absl::InvalidArgumentError(absl::StrCat(
        "transport must be auto, shm, gloo or nccl; it is \"", std::string(back_end), "\""));
  }
  if (options.size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("size must be at least 1; it is ", options.size));
  }
  if (options.rank < 0 || options.rank >= options.size) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank must be between 0 and ", options.size - 1, "; it is ", options.rank));
  }
  if (options.size > 1 && options.rendezvous == nullptr) {
    return absl::InvalidArgumentError("rendezvous must be given for more than one rank");
  }
  return absl::OkStatus();
}

// The back ends index what they get by rank.
Rendezvous Checked(Rendezvous rendezvous, int size) {
  return [rendezvous = std::move(rendezvous), size](
             std::string_view round, std::string_view mine,
             absl::Time deadline) -> absl::StatusOr<std::vector<std::string>> {
    TESSERA_ASSIGN_OR_RETURN(std::vector<std::string> all, rendezvous(round, mine, deadline));
    if (all.size() != static_cast<size_t>(size)) {
      return absl::InternalError(
          absl::StrCat("a rendezvous of ", size, " ranks returned ", all.size(), " answers"));
    }
    return all;
  };
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> Connect(std::string_view back_end,
                                                      const ConnectOptions& options) {
  TESSERA_RETURN_IF_ERROR(CheckOptions(back_end, options));
  if (options.size == 1 && back_end != "nccl") return std::move(MakeInProcess(1).front());
  ConnectOptions checked = options;
  checked.rendezvous = Checked(options.rendezvous, options.size);
  if (back_end == "nccl") return ConnectNccl(checked);
  if (back_end == "gloo") return ConnectGloo(checked);
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> shared, ConnectShmIfShared(checked));
  if (shared != nullptr) return shared;
  if (back_end == "auto") return ConnectGloo(checked);
  return absl::UnavailableError("the ranks do not share a host and its memory");
}

}  // namespace tessera::transport
