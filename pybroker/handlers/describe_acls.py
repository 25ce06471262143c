"""DescribeAcls, CreateAcls and DeleteAcls (keys 29, 30, 31), versions 0 to 3, of a broker without authorizer.

- Every request is answered SECURITY_DISABLED: at the top for DescribeAcls, once per rule for CreateAcls and
  once per filter for DeleteAcls. Tools take this for "access control is off" and go on.
"""

from attrs import frozen

from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.protocol.messages import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)


@frozen
class DescribeAclsHandler:
    async def __call__(self, ctx: RequestContext, request: DescribeAclsRequest) -> DescribeAclsResponse:  # noqa: ARG002
        return DescribeAclsResponse(
            error_code=ErrorCode.SECURITY_DISABLED,
            error_message="No Authorizer is configured on the broker",
        )


@frozen
class ChangeAclsHandler:
    """Refuses CreateAcls and DeleteAcls; the reply has one error for each thing asked."""

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: CreateAclsRequest | DeleteAclsRequest,  # noqa: ARG002
    ) -> CreateAclsResponse | DeleteAclsResponse:
        raise ApiError(ErrorCode.SECURITY_DISABLED, "No Authorizer is configured.")
