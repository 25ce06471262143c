"""AlterConfigs (key 33), versions 0 to 2: the entries replace the whole configuration of a resource.

- Topics, this broker, and with an empty name the defaults of all brokers; each resource on its own.
- A resource or a key named twice, a null value, an unknown topic, another broker: refused in Kafka's words.
- ``validate_only`` checks everything and writes nothing.
- A broker's values are checked as a whole; wrong ones are INVALID_REQUEST, a topic's INVALID_CONFIG.

Deprecated: it loses what somebody else has set meanwhile. IncrementalAlterConfigs does not.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from pybroker.config.resources import ConfigResource
from pybroker.controller.configs_admin import ConfigsAdmin, Wish
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import Value
from pybroker.protocol.messages import AlterConfigsRequest, AlterConfigsResponse


class AlterConfigsHandler(Value):
    admin: ConfigsAdmin

    async def __call__(self, ctx: RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse:  # noqa: ARG002
        twice = named_twice((one.resource_type, one.resource_name) for one in request.resources)
        return AlterConfigsResponse(
            responses=[
                await self._alter(one, twice, validate_only=request.validate_only)
                for one in request.resources
            ]
        )

    async def _alter(
        self,
        asked: AlterConfigsRequest.AlterConfigsResource,
        twice: set[tuple[int, str]],
        *,
        validate_only: bool,
    ) -> AlterConfigsResponse.AlterConfigsResourceResponse:
        async def alter() -> None:
            resource = checked_resource(asked.resource_type, asked.resource_name, twice)
            wishes = [Wish(config.name, config.value) for config in asked.configs]
            await self.admin.replace(resource, wishes, validate_only=validate_only)

        error = await error_of(alter)
        return AlterConfigsResponse.AlterConfigsResourceResponse(
            resource_type=asked.resource_type,
            resource_name=asked.resource_name,
            error_code=error.code,
            error_message=error.message,
        )


def named_twice(resources: Iterable[tuple[int, str]]) -> set[tuple[int, str]]:
    return {resource for resource, count in Counter(resources).items() if count > 1}


def checked_resource(number: int, name: str, twice: set[tuple[int, str]]) -> ConfigResource:
    """The resource that a request names.

    Raises:
        ApiError: it is named twice.
    """
    if (number, name) in twice:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
    return ConfigResource(number, name)


async def error_of(work: Callable[[], Awaitable[None]]) -> ApiError:
    """What became of it, success being an error of code NONE."""
    try:
        await work()
    except ApiError as error:
        return error
    return ApiError(ErrorCode.NONE)
