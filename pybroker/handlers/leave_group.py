"""LeaveGroup (key 13), versions 0 to 5: members leave, or are removed by an administrator.

Versions: 3 several members in one request, also by instance id alone (KIP-345); before it the one member's
error is the request's. 5 reasons (KIP-800).
"""

from pybroker.coordination.group.calls import LeavingMember
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.values import Value
from pybroker.protocol.messages import LeaveGroupRequest, LeaveGroupResponse

FIRST_VERSION_WITH_SEVERAL_MEMBERS = 3


class LeaveGroupHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: LeaveGroupRequest) -> LeaveGroupResponse:
        if ctx.api_version < FIRST_VERSION_WITH_SEVERAL_MEMBERS:
            (code,) = self.groups.leave(request.group_id, [LeavingMember(request.member_id)])
            return LeaveGroupResponse(error_code=code)
        leaving = [
            LeavingMember(member.member_id, member.group_instance_id, member.reason)
            for member in request.members
        ]
        codes = self.groups.leave(request.group_id, leaving)
        return LeaveGroupResponse(
            members=[
                LeaveGroupResponse.MemberResponse(
                    member_id=member.member_id, group_instance_id=member.instance_id, error_code=code
                )
                for member, code in zip(leaving, codes, strict=True)
            ]
        )
