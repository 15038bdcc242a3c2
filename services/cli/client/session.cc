#include "services/cli/client/session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/default_model.h"

namespace tessera::cli {
namespace {

constexpr absl::Duration kStopTimeout = absl::Seconds(5);

// The session's own flags come before those of the private cluster in --help.
Flags& WithSessionFlags(Flags& flags, std::string* server, absl::Duration* start_timeout) {
  flags.Group("Server");
  flags.Text(
      "--server", server,
      "host:port of a running gateway; without it a private cluster is brought up for the call",
      "ADDR");
  flags.Group("Private cluster (without --server)");
  flags.Duration("--start-timeout", start_timeout, "for the private cluster to get ready");
  return flags;
}

}  // namespace

Session::Session(Flags& flags)
    : config_flags_(WithSessionFlags(flags, &server_, &start_timeout_),
                    ConfigUse::kPrivateCluster) {}

Session::~Session() {
  if (cluster_ != nullptr) {
    client_.reset();
    cluster_->supervisor().RequestStop();
    cluster_->supervisor().WaitUntilEndedFor(kStopTimeout);
  }
}

absl::Status Session::Open() {
  if (server_.empty()) {
    return OpenPrivateCluster();
  }
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<InferenceClient> client,
                           InferenceClient::Connect(server_));
  const std::lock_guard<std::mutex> lock(mutex_);
  client_ = std::move(client);
  return absl::OkStatus();
}

absl::Status Session::OpenPrivateCluster() {
  LocalClusterOptions options;
  TESSERA_ASSIGN_OR_RETURN(options.config, config_flags_.Read());
  TESSERA_RETURN_IF_ERROR(CheckModelFolder(options.config.model.path));
  options.arguments = config_flags_.AsArguments();
  options.is_private = true;
  options.start_timeout = start_timeout_;
  options.on_loading = [this](const std::string& name, int64_t loaded_bytes, int64_t total_bytes) {
    progress_.Update(name, loaded_bytes, total_bytes);
  };
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    cluster_ = std::make_unique<LocalCluster>(std::move(options));
  }
  const absl::Status started = cluster_->Start();
  progress_.Finish();
  if (!started.ok()) {
    const std::string log = cluster_->ErrorOutput();
    return absl::Status(started.code(),
                        absl::StrCat(started.message(), log.empty() ? "" : "\n", log));
  }
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<InferenceClient> client,
                           InferenceClient::Connect(cluster_->gateway_address()));
  const std::lock_guard<std::mutex> lock(mutex_);
  client_ = std::move(client);
  return absl::OkStatus();
}

void Session::Interrupt() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (client_ != nullptr) {
    client_->Cancel();
  } else if (cluster_ != nullptr) {
    cluster_->supervisor().RequestKill();
  }
}

}  // namespace tessera::cli
