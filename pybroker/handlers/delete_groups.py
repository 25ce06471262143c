"""DeleteGroups (key 42), versions 0 to 2: deletes empty groups with their offsets (KIP-229).

- A group with members is NON_EMPTY_GROUP, one that does not exist GROUP_ID_NOT_FOUND.
- A group named twice is answered once.
"""

from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import DeleteGroupsRequest, DeleteGroupsResponse


class DeleteGroupsHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse:  # noqa: ARG002
        return DeleteGroupsResponse(
            results=[
                DeleteGroupsResponse.DeletableGroupResult(group_id=name, error_code=self._delete(name))
                for name in dict.fromkeys(request.groups_names)
            ]
        )

    def _delete(self, group_id: str) -> ErrorCode:
        try:
            return self.groups.delete_group(group_id)
        except ApiError as error:
            return error.code
