#include "tests/worker/transport/conformance_suite.h"

namespace tessera::transport {
namespace {

INSTANTIATE_TEST_SUITE_P(Shm, Conformance, GroupSizes(ConnectAll("shm")), GroupName);

}  // namespace
}  // namespace tessera::transport
