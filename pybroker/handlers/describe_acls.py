"""DescribeAcls, CreateAcls and DeleteAcls (keys 29, 30, 31), versions 0 to 3, of a broker without authorizer.

- Every request is answered SECURITY_DISABLED: at the top for DescribeAcls, once per rule for CreateAcls and
  once per filter for DeleteAcls. Tools take this for "access control is off" and go on.
- A request with the value UNKNOWN in it is malformed: the connection is closed.
"""

from collections.abc import Iterable

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, CloseConnection, ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)

UNKNOWN = 0
"""Of resource types, pattern types, operations and permissions."""


class DescribeAclsHandler(Value):
    async def __call__(self, ctx: RequestContext, request: DescribeAclsRequest) -> DescribeAclsResponse:  # noqa: ARG002
        _refuse_unknown(
            (
                request.resource_type_filter,
                request.pattern_type_filter,
                request.operation,
                request.permission_type,
            )
        )
        return DescribeAclsResponse(
            error_code=ErrorCode.SECURITY_DISABLED,
            error_message="No Authorizer is configured on the broker",
        )


class ChangeAclsHandler(Value):
    """Refuses CreateAcls and DeleteAcls; the reply has one error for each thing asked."""

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: CreateAclsRequest | DeleteAclsRequest,
    ) -> CreateAclsResponse | DeleteAclsResponse:
        if isinstance(request, CreateAclsRequest):
            for rule in request.creations:
                _refuse_unknown(
                    (rule.resource_type, rule.resource_pattern_type, rule.operation, rule.permission_type)
                )
        else:
            for one in request.filters:
                _refuse_unknown(
                    (
                        one.resource_type_filter,
                        one.pattern_type_filter,
                        one.operation,
                        one.permission_type,
                    )
                )
        raise ApiError(ErrorCode.SECURITY_DISABLED, "No Authorizer is configured.")


def _refuse_unknown(values: Iterable[int]) -> None:
    if UNKNOWN in values:
        raise CloseConnection("a request about ACLs contains UNKNOWN elements")
