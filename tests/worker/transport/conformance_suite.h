// What every back end must do, with ranks as threads. A back end's test instantiates the suite:
//
//   INSTANTIATE_TEST_SUITE_P(Shm, Conformance, GroupSizes(ConnectShm), GroupName);
#ifndef TESSERA_TESTS_WORKER_TRANSPORT_CONFORMANCE_SUITE_H_
#define TESSERA_TESTS_WORKER_TRANSPORT_CONFORMANCE_SUITE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "worker/transport/communicator.h"

namespace tessera::transport {

using Ranks = std::vector<std::unique_ptr<Communicator>>;
using MakeRanks = std::function<Ranks(int size)>;

struct Group {
  MakeRanks make;
  int size;
};

class Conformance : public testing::TestWithParam<Group> {
 protected:
  void SetUp() override;
  int size() const { return GetParam().size; }
  // Runs `body` on a thread per rank and joins them.
  void OnAllRanks(const std::function<void(Communicator&)>& body);

  Ranks ranks_;
};

// Connects all ranks of `back_end` over a rendezvous of threads.
MakeRanks ConnectAll(std::string back_end);

// Groups of 1, 2, 3, 4 and 8 ranks.
testing::internal::ParamGenerator<Group> GroupSizes(MakeRanks make);
std::string GroupName(const testing::TestParamInfo<Group>& info);

}  // namespace tessera::transport

#endif  // TESSERA_TESTS_WORKER_TRANSPORT_CONFORMANCE_SUITE_H_
