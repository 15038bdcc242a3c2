// What the end of a call to the router or to a worker means for the request behind it.
#ifndef TESSERA_SERVICES_GATEWAY_DISPATCH_CALL_ERRORS_H_
#define TESSERA_SERVICES_GATEWAY_DISPATCH_CALL_ERRORS_H_

#include "absl/status/status.h"

namespace tessera::gateway {

absl::Status DeadlineError();

// The client's error if the router found no place until the wait was over. The router's own words
// are fit for clients; a transport's may hold addresses.
absl::Status UnplacedError(const absl::Status& status);

// The client's error for a worker's refusal that no other worker would answer better.
absl::Status ClientError(const absl::Status& status);

// Ends that say nothing about the request: another worker may do better.
bool IsWorkerFailure(const absl::Status& status);

// A prefill rank says that the decode rank is the one that failed.
bool IsDecodeRankFailure(const absl::Status& status);

// A decode rank gave the sequence up for others: it lives and may take it again.
bool IsPreemption(const absl::Status& status);

// The worker itself says that it cannot serve now (it drains, its group re-forms, its peer is
// gone), where a transport would only say that it is gone: waiting, not one more failed attempt.
bool IsNotNow(const absl::Status& status);

// The route is to blame and not the worker: another revision, a stale epoch, a lease of handed-over
// KV that is over.
bool IsStaleRoute(const absl::Status& status);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_DISPATCH_CALL_ERRORS_H_
