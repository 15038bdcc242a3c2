// Tokens per second of each rank, from the counters that its heartbeats carry.
#ifndef TESSERA_SERVICES_CLI_TOP_TOKEN_RATES_H_
#define TESSERA_SERVICES_CLI_TOP_TOKEN_RATES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tessera/v1/router.pb.h"

namespace tessera::cli {

struct TokenRate {
  double prompt = 0;     // prompt tokens computed per second
  double generated = 0;  // tokens generated per second
};
// By worker id; a rank whose rate is not known is not in it.
using TokenRates = std::map<std::string, TokenRate>;

// Counters change with heartbeats, not with polls, so the time between two heartbeats is what
// divides: a poll that brings no new heartbeat keeps the rate. Not thread safe.
class TokenRateMeter {
 public:
  // The rates after one more view of the cluster, taken at `time`. A rank's rate is known from its
  // second heartbeat on, and not across a restart (a counter that fell).
  TokenRates Observe(absl::Time time, const v1::Cluster& cluster);

 private:
  struct Last {
    absl::Time heartbeat;
    uint64_t prompt_tokens = 0;
    uint64_t generated_tokens = 0;
    std::optional<TokenRate> rate;
  };

  std::map<std::string, Last> ranks_;
};

}  // namespace tessera::cli

#endif  // TESSERA_SERVICES_CLI_TOP_TOKEN_RATES_H_
