"""JoinGroup (key 11), versions 0 to 9: a member joins its group, and waits until all others have.

- The rules are in :mod:`pybroker.coordination.group`; the answer comes when the rebalance is complete.

Versions: 1 rebalance time-out, before it the session time-out served for both; 4 a dynamic member without an
id is sent back with one first (KIP-394); 5 static members (KIP-345); 7 the protocol's type, and null instead
of an empty protocol name (KIP-559); 8 reasons (KIP-800); 9 a leader that need not assign (KIP-814).
"""

from pybroker.coordination.group.calls import JoinCall, JoinReply
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.values import Value
from pybroker.protocol.messages import JoinGroupRequest, JoinGroupResponse

FIRST_VERSION_WITH_REBALANCE_TIMEOUT = 1
FIRST_VERSION_WITH_REQUIRED_MEMBER_ID = 4
FIRST_VERSION_WITH_NULL_PROTOCOL = 7
FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT = 9


class JoinGroupHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: JoinGroupRequest) -> JoinGroupResponse:
        try:
            reply = await self.groups.join(_call(ctx, request))
        except ApiError as error:
            reply = JoinReply(request.member_id, error.code)
        has_null = ctx.api_version >= FIRST_VERSION_WITH_NULL_PROTOCOL
        return JoinGroupResponse(
            error_code=reply.error,
            generation_id=reply.generation,
            protocol_type=reply.protocol_type,
            protocol_name=reply.protocol_name or (None if has_null else ""),
            leader=reply.leader,
            skip_assignment=reply.skip_assignment,
            member_id=reply.member_id,
            members=[
                JoinGroupResponse.JoinGroupResponseMember(
                    member_id=member.member_id,
                    group_instance_id=member.instance_id,
                    metadata=member.metadata,
                )
                for member in reply.members
            ],
        )


def _call(ctx: RequestContext, request: JoinGroupRequest) -> JoinCall:
    version = ctx.api_version
    has_timeout = version >= FIRST_VERSION_WITH_REBALANCE_TIMEOUT
    return JoinCall(
        group_id=request.group_id,
        member_id=request.member_id,
        protocol_type=request.protocol_type,
        protocols=tuple((protocol.name, bytes(protocol.metadata)) for protocol in request.protocols),
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=request.rebalance_timeout_ms if has_timeout else request.session_timeout_ms,
        client_id=ctx.client_id or "",
        client_host=f"/{ctx.client_host}",
        instance_id=request.group_instance_id,
        needs_member_id=version >= FIRST_VERSION_WITH_REQUIRED_MEMBER_ID,
        can_skip_assignment=version >= FIRST_VERSION_WITH_SKIPPED_ASSIGNMENT,
        reason=request.reason,
    )
