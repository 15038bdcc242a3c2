// Two hosts, as two network namespaces with a cable between them. Needs root and the `ip` command.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/worker/transport/process_group.h"
#include "worker/transport/transport.h"

namespace tessera::transport {
namespace {

bool Shell(const std::string& command) {
  return std::system(absl::StrCat(command, " >/dev/null 2>&1").c_str()) == 0;
}

// Two namespaces with the addresses 10.213.77.1 and .2; gone when this is.
class TwoHosts {
 public:
  TwoHosts() {
    for (int host : {0, 1}) up_ = up_ && Shell(absl::StrCat("ip netns add ", Name(host)));
    up_ = up_ && Shell(absl::StrCat("ip link add veth0 netns ", Name(0), " type veth peer name ",
                                    "veth0 netns ", Name(1)));
    for (int host : {0, 1}) {
      const std::string ip = absl::StrCat("ip -n ", Name(host));
      up_ = up_ && Shell(absl::StrCat(ip, " addr add ", Address(host), "/24 dev veth0")) &&
            Shell(absl::StrCat(ip, " link set veth0 up")) &&
            Shell(absl::StrCat(ip, " link set lo up"));
    }
  }
  ~TwoHosts() {
    for (int host : {0, 1}) Shell(absl::StrCat("ip netns del ", Name(host)));
  }

  bool up() const { return up_; }
  static std::string Address(int host) { return absl::StrCat("10.213.77.", host + 1); }
  // Moves the calling process there.
  bool Enter(int host) const {
    const int name = open(absl::StrCat("/var/run/netns/", Name(host)).c_str(), O_RDONLY);
    const bool entered = name >= 0 && setns(name, CLONE_NEWNET) == 0;
    close(name);
    return entered;
  }

 private:
  std::string Name(int host) const { return absl::StrCat("tessera-test-", pid_, "-", host); }

  const int pid_ = getpid();
  bool up_ = true;
};

// A rank on its host: exchanges with the other and checks what came. 0: all was well.
int RankOn(const TwoHosts& hosts, ProcessGroup& group, int rank) {
  if (!hosts.Enter(rank)) return 3;
  auto connected = Connect("gloo", {.rank = rank,
                                    .size = 2,
                                    .rendezvous = group.ForRank(rank),
                                    .round = "test",
                                    .deadline = absl::Now() + absl::Seconds(20),
                                    .bind_host = TwoHosts::Address(rank)});
  if (!connected.ok()) return 2;
  constexpr int64_t kBytes = 3 << 20;
  const std::vector<int64_t> sizes(2, kBytes);
  const std::vector<std::byte> send(2 * kBytes, static_cast<std::byte>(10 + rank));
  std::vector<std::byte> receive(2 * kBytes);
  const absl::Status status = (*connected)
                                  ->AllToAllV({send, sizes}, {absl::MakeSpan(receive), sizes},
                                              absl::Now() + absl::Seconds(20));
  if (!status.ok()) return 1;
  for (int64_t i = 0; i < 2 * kBytes; ++i) {
    if (receive[i] != static_cast<std::byte>(10 + i / kBytes)) return 4;
  }
  return (*connected)->Barrier(absl::Now() + absl::Seconds(20)).ok() ? 0 : 1;
}

TEST(Namespaces, GlooExchangesBetweenHosts) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
  if (!Shell("ip -V")) GTEST_SKIP() << "needs the command `ip`";
  const TwoHosts hosts;
  if (!hosts.up()) GTEST_SKIP() << "this system does not let `ip netns` make namespaces";
  ProcessGroup group(2);
  const pid_t first = group.Fork([&] { return RankOn(hosts, group, 0); });
  const pid_t second = group.Fork([&] { return RankOn(hosts, group, 1); });
  EXPECT_EQ(group.Join(first), 0);
  EXPECT_EQ(group.Join(second), 0);
}

}  // namespace
}  // namespace tessera::transport
