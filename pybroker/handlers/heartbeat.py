"""Heartbeat (key 12), versions 0 to 4: a member says that it lives, and learns that the group rebalances.

Versions: 3 static members (KIP-345).
"""

from pybroker.coordination.group.calls import HeartbeatCall
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.values import Value
from pybroker.protocol.messages import HeartbeatRequest, HeartbeatResponse


class HeartbeatHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: HeartbeatRequest) -> HeartbeatResponse:  # noqa: ARG002
        call = HeartbeatCall(
            request.group_id, request.generation_id, request.member_id, request.group_instance_id
        )
        return HeartbeatResponse(error_code=self.groups.heartbeat(call))
