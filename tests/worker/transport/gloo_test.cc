#include "tests/worker/transport/conformance_suite.h"

namespace tessera::transport {
namespace {

INSTANTIATE_TEST_SUITE_P(Gloo, Conformance, GroupSizes(ConnectAll("gloo")), GroupName);

}  // namespace
}  // namespace tessera::transport
