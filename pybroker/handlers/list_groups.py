"""ListGroups (key 16), versions 0 to 5: the groups that this broker coordinates.

- While it loads groups, those that it knows already come with COORDINATOR_LOAD_IN_PROGRESS.

Versions: 4 filter by states (KIP-518), 5 by types (KIP-848); names are compared without regard to case, and
an empty filter lets everything pass.
"""

from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.values import Value
from pybroker.protocol.messages import ListGroupsRequest, ListGroupsResponse


class ListGroupsHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: ListGroupsRequest) -> ListGroupsResponse:  # noqa: ARG002
        states = {state.lower() for state in request.states_filter}
        types = {kind.lower() for kind in request.types_filter}
        code, groups = self.groups.list_groups()
        return ListGroupsResponse(
            error_code=code,
            groups=[
                ListGroupsResponse.ListedGroup(
                    group_id=group.group_id,
                    protocol_type=group.protocol_type,
                    group_state=group.state,
                    group_type=group.group_type,
                )
                for group in groups
                if (not states or group.state.lower() in states) and (not types or group.group_type in types)
            ],
        )
