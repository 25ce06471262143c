"""DescribeGroups (key 15), versions 0 to 6: the state of classic groups and their members.

- Protocol, subscriptions and assignments are told only of a stable group.
- A group that does not exist is described as dead.

Versions: 3 authorized operations (KIP-430); 4 instance ids (KIP-345); 6 a group that does not exist is
GROUP_ID_NOT_FOUND, with a sentence (KIP-1043).
"""

from pybroker.coordination.group.calls import GroupDescription
from pybroker.coordination.group.states import GroupState
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.acl import ResourceType, every_operation_on
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeGroupsRequest, DescribeGroupsResponse

FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND = 6


class DescribeGroupsHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: DescribeGroupsRequest) -> DescribeGroupsResponse:
        described = [self._describe(ctx, group_id) for group_id in request.groups]
        if request.include_authorized_operations:
            for group in described:
                if group.error_code == ErrorCode.NONE:
                    group.authorized_operations = every_operation_on(ResourceType.GROUP)
        return DescribeGroupsResponse(groups=described)

    def _describe(self, ctx: RequestContext, group_id: str) -> DescribeGroupsResponse.DescribedGroup:
        try:
            found = self.groups.describe(group_id)
        except ApiError as error:
            return DescribeGroupsResponse.DescribedGroup(group_id=group_id, error_code=error.code)
        if found is not None:
            return _described(group_id, found)
        missing = _described(group_id, GroupDescription(GroupState.DEAD.value))
        if ctx.api_version >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND:
            missing.error_code = ErrorCode.GROUP_ID_NOT_FOUND
            missing.error_message = f"Group {group_id} not found."
        return missing


def _described(group_id: str, group: GroupDescription) -> DescribeGroupsResponse.DescribedGroup:
    return DescribeGroupsResponse.DescribedGroup(
        group_id=group_id,
        group_state=group.state,
        protocol_type=group.protocol_type,
        protocol_data=group.protocol,
        members=[
            DescribeGroupsResponse.DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.metadata,
                member_assignment=member.assignment,
            )
            for member in group.members
        ],
    )
