"""SyncGroup (key 14), versions 0 to 5: the leader hands in the assignment, every member receives its own.

- Followers wait until the leader's assignment is in the log.

Versions: 3 static members (KIP-345); 5 the protocol must be named, and must be the group's (KIP-559).
"""

from pybroker.coordination.group.calls import SyncCall, SyncReply
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import SyncGroupRequest, SyncGroupResponse

FIRST_VERSION_WITH_PROTOCOL = 5


class SyncGroupHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: SyncGroupRequest) -> SyncGroupResponse:
        reply = await self._reply(ctx, request)
        return SyncGroupResponse(
            error_code=reply.error,
            protocol_type=reply.protocol_type,
            protocol_name=reply.protocol_name,
            assignment=reply.assignment,
        )

    async def _reply(self, ctx: RequestContext, request: SyncGroupRequest) -> SyncReply:
        must_name_protocol = ctx.api_version >= FIRST_VERSION_WITH_PROTOCOL
        if must_name_protocol and None in (request.protocol_type, request.protocol_name):
            return SyncReply(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        call = SyncCall(
            group_id=request.group_id,
            generation=request.generation_id,
            member_id=request.member_id,
            protocol_type=request.protocol_type,
            protocol_name=request.protocol_name,
            instance_id=request.group_instance_id,
            assignments={one.member_id: bytes(one.assignment) for one in request.assignments},
        )
        try:
            return await self.groups.sync(call)
        except ApiError as error:
            return SyncReply(error.code)
