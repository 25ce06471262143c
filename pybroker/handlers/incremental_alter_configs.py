"""IncrementalAlterConfigs (key 44), versions 0 and 1 (KIP-339): single steps, the rest stays as it is.

- SET and DELETE of any key, APPEND and SUBTRACT of lists; DELETE of what is not set is no error.
- Topics, this broker, the defaults of all brokers (empty name), and the levels of this broker's loggers
  (KIP-412), which are not stored: they are lost at the next start.
- Each resource on its own; a key or a resource named twice is refused.
- ``validate_only`` checks everything and changes nothing.
"""

from pybroker.controller.configs_admin import ConfigsAdmin, Wish
from pybroker.handlers.alter_configs import checked_resource, error_of, named_twice
from pybroker.handlers.context import RequestContext
from pybroker.model.values import Value
from pybroker.protocol.messages import IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse


class IncrementalAlterConfigsHandler(Value):
    admin: ConfigsAdmin

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse:
        twice = named_twice((one.resource_type, one.resource_name) for one in request.resources)
        return IncrementalAlterConfigsResponse(
            responses=[
                await self._alter(one, twice, validate_only=request.validate_only)
                for one in request.resources
            ]
        )

    async def _alter(
        self,
        asked: IncrementalAlterConfigsRequest.AlterConfigsResource,
        twice: set[tuple[int, str]],
        *,
        validate_only: bool,
    ) -> IncrementalAlterConfigsResponse.AlterConfigsResourceResponse:
        async def alter() -> None:
            resource = checked_resource(asked.resource_type, asked.resource_name, twice)
            wishes = [Wish(config.name, config.value, config.config_operation) for config in asked.configs]
            await self.admin.change(resource, wishes, validate_only=validate_only)

        error = await error_of(alter)
        return IncrementalAlterConfigsResponse.AlterConfigsResourceResponse(
            resource_type=asked.resource_type,
            resource_name=asked.resource_name,
            error_code=error.code,
            error_message=error.message,
        )
