#include "services/gateway/readiness.h"

#include <gtest/gtest.h>

#include "tessera/v1/router.pb.h"

namespace tessera::gateway {
namespace {

v1::ClusterWorker& Add(v1::Cluster& cluster, v1::WorkerRole role) {
  v1::ClusterWorker& worker = *cluster.add_workers();
  worker.set_role(role);
  worker.set_model_revision("r1");
  worker.set_numerics("bf16/avx2");
  return worker;
}

TEST(Readiness, ARankThatDoesBothIsEnough) {
  v1::Cluster cluster;
  EXPECT_FALSE(CanServe(cluster, "r1"));
  v1::ClusterWorker& worker = Add(cluster, v1::WORKER_ROLE_BOTH);
  EXPECT_TRUE(CanServe(cluster, "r1"));
  EXPECT_FALSE(CanServe(cluster, "r2"));
  worker.set_draining(true);
  EXPECT_FALSE(CanServe(cluster, "r1"));
}

TEST(Readiness, AGroupMustStand) {
  v1::Cluster cluster;
  v1::GroupPlace& place = *Add(cluster, v1::WORKER_ROLE_BOTH).mutable_place();
  place.set_group("g");
  EXPECT_FALSE(CanServe(cluster, "r1"));
  place.set_epoch(1);
  EXPECT_TRUE(CanServe(cluster, "r1"));
  place.set_stage(1);
  EXPECT_FALSE(CanServe(cluster, "r1"));
}

TEST(Readiness, SplitPoolsNeedBothSidesOfOneKind) {
  v1::Cluster cluster;
  Add(cluster, v1::WORKER_ROLE_PREFILL);
  EXPECT_FALSE(CanServe(cluster, "r1"));
  Add(cluster, v1::WORKER_ROLE_DECODE).set_numerics("f32/avx2");
  EXPECT_FALSE(CanServe(cluster, "r1"));
  Add(cluster, v1::WORKER_ROLE_DECODE);
  EXPECT_TRUE(CanServe(cluster, "r1"));
}

}  // namespace
}  // namespace tessera::gateway
