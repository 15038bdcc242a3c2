#include "router/group/group_wire.h"

namespace tessera::router {

GroupJoin FromProto(const v1::JoinGroupRequest& proto) {
  GroupJoin join;
  join.worker_id = proto.worker_id();
  join.group = proto.group();
  join.stages = proto.stages();
  join.expert_ranks = proto.expert_ranks();
  join.stage = proto.stage();
  join.expert_rank = proto.expert_rank();
  join.address = proto.address();
  join.started_at_ms = proto.started_at_ms();
  join.model_revision = proto.model_revision();
  join.numerics = proto.numerics();
  join.transport = proto.transport();
  if (proto.has_current()) join.current = FromProto(proto.current());
  return join;
}

GroupView FromProto(const v1::GroupView& proto) {
  GroupView view;
  view.group = proto.group();
  view.epoch = proto.epoch();
  view.stages = proto.stages();
  view.columns = proto.columns();
  for (const v1::GroupMember& member : proto.members()) {
    view.members.push_back({member.worker_id(), member.address(), member.started_at_ms()});
  }
  for (const v1::LayerPlacement& layer : proto.placement()) {
    LayerPlacement& placement = view.placement.emplace_back();
    placement.layer = layer.layer();
    for (const v1::ExpertHolders& holders : layer.experts()) {
      placement.holders.emplace_back(holders.columns().begin(), holders.columns().end());
    }
  }
  return view;
}

ExchangeTable::Part FromProto(const v1::ExchangeRequest& proto) {
  return {proto.group(), proto.epoch(), proto.rank(), proto.round(), proto.data()};
}

v1::GroupView ToProto(const GroupView& view) {
  v1::GroupView proto;
  proto.set_group(view.group);
  proto.set_epoch(view.epoch);
  proto.set_stages(view.stages);
  proto.set_columns(view.columns);
  for (const GroupMember& member : view.members) {
    v1::GroupMember& entry = *proto.add_members();
    entry.set_worker_id(member.worker_id);
    entry.set_address(member.address);
    entry.set_started_at_ms(member.started_at_ms);
  }
  for (const LayerPlacement& layer : view.placement) {
    v1::LayerPlacement& entry = *proto.add_placement();
    entry.set_layer(layer.layer);
    for (const std::vector<int32_t>& holders : layer.holders) {
      entry.add_experts()->mutable_columns()->Add(holders.begin(), holders.end());
    }
  }
  return proto;
}

}  // namespace tessera::router
