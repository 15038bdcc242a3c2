// Whether the cluster can answer at all.
#ifndef TESSERA_SERVICES_GATEWAY_READINESS_H_
#define TESSERA_SERVICES_GATEWAY_READINESS_H_

#include <string>

namespace tessera::v1 {
class Cluster;
}  // namespace tessera::v1

namespace tessera::gateway {

// Some rank that does both, or a prefill and a decode rank that go together, can take requests for
// the revision: it leads its group, the group stands, and it does not drain. Full queues do not
// count: they are a matter of seconds.
bool CanServe(const v1::Cluster& cluster, const std::string& model_revision);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_READINESS_H_
