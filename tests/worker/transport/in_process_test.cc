#include "tests/worker/transport/conformance_suite.h"
#include "worker/transport/transport.h"

namespace tessera::transport {
namespace {

INSTANTIATE_TEST_SUITE_P(InProcess, Conformance, GroupSizes(MakeInProcess), GroupName);

}  // namespace
}  // namespace tessera::transport
