// Messages of group.proto to the router's own types and back.
#ifndef TESSERA_ROUTER_GROUP_GROUP_WIRE_H_
#define TESSERA_ROUTER_GROUP_GROUP_WIRE_H_

#include "router/group/exchange_table.h"
#include "router/group/group_view.h"
#include "tessera/v1/group.pb.h"

namespace tessera::router {

GroupJoin FromProto(const v1::JoinGroupRequest& proto);
GroupView FromProto(const v1::GroupView& proto);
ExchangeTable::Part FromProto(const v1::ExchangeRequest& proto);
v1::GroupView ToProto(const GroupView& view);

}  // namespace tessera::router

#endif  // TESSERA_ROUTER_GROUP_GROUP_WIRE_H_
