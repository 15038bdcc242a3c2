// Brings the rows of one prompt to the ranks that will decode it, while they are computed.
#ifndef TESSERA_WORKER_SERVICE_KV_SENDER_H_
#define TESSERA_WORKER_SERVICE_KV_SENDER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tessera/v1/worker.grpc.pb.h"
#include "worker/engine/kv_transfer.h"

namespace tessera::worker {

// Bytes that wait in the senders of one process. Thread safe.
class SendBudget {
 public:
  explicit SendBudget(int64_t bytes) : bytes_(bytes) {}
  bool Take(int64_t bytes);  // false: more than there is; nothing was taken
  void Return(int64_t bytes) { used_ -= bytes; }
  int64_t bytes() const { return bytes_; }

 private:
  const int64_t bytes_;
  std::atomic<int64_t> used_{0};
};

// One rank that takes rows.
struct KvTarget {
  std::shared_ptr<v1::WorkerService::Stub> stub;
  int64_t first_layer = 0;  // of the whole model
  int64_t num_layers = 0;
  std::vector<int32_t> blocks;  // of the lease, for a rank that does not lead; else empty
};

struct KvSendResult {
  absl::Status status;       // of what failed first
  bool failed_here = false;  // it is the status of Fail, or of a full budget, not of a stream
  int64_t bytes = 0;         // of rows that were sent
  absl::Duration tail;       // from the last row to the last acknowledgement
};

// Thread safe. Lives until `done` has been called, however few hold it.
class KvSender : public std::enable_shared_from_this<KvSender> {
 public:
  struct Options {
    std::string handoff_id;
    int64_t skip_tokens = 0;  // leading rows that are there already
    int64_t row_bytes = 0;
    absl::Time deadline;           // of the streams: before the lease ends
    SendBudget* budget = nullptr;  // outlives the sender
  };

  // Opens a stream per target. done: called once, when all streams have ended; on a gRPC thread.
  static std::shared_ptr<KvSender> Start(std::vector<KvTarget> targets, Options options,
                                         std::function<void(KvSendResult)> done);
  ~KvSender();

  // What the engine writes to; it may outlive the streams.
  std::shared_ptr<engine::KvExport> MakeExport();

  // Ends the streams early: `done` hears this status unless one has failed before.
  void Fail(const absl::Status& status);

 private:
  class Stream;
  class Export;

  explicit KvSender(Options options, std::function<void(KvSendResult)> done);
  // As KvExport.
  void AddRows(int64_t layer, int64_t first_position, int64_t num_rows,
               absl::Span<const std::byte> rows);
  void Complete();
  void StreamEnded(const absl::Status& status);
  void EndStreams(const absl::Status& status, bool failed_here);

  const Options options_;
  const std::function<void(KvSendResult)> done_;
  std::vector<std::unique_ptr<Stream>> streams_;

  std::mutex mutex_;  // guards all below
  std::shared_ptr<KvSender> self_;
  size_t streams_open_ = 0;
  absl::Status status_;
  bool failed_here_ = false;
  int64_t bytes_ = 0;
  absl::Time completed_ = absl::InfiniteFuture();
};

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_KV_SENDER_H_
