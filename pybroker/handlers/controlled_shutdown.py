"""ControlledShutdown (key 7), versions 0 to 3: a broker that is about to stop hands its leadership over.

- Answered with the partitions that it still leads although they have other replicas; it asks again while
  there are any.
- NOT_CONTROLLER from any other broker, STALE_BROKER_EPOCH to an earlier incarnation, BROKER_NOT_AVAILABLE to
  one that is not registered.

Versions: 0 has the header without a client id; 2 brings the broker epoch.
"""

from pybroker.controller.api import ControllerApi
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.values import Value
from pybroker.protocol.messages import ControlledShutdownRequest, ControlledShutdownResponse


class ControlledShutdownHandler(Value):
    controller: ControllerApi

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: ControlledShutdownRequest,
    ) -> ControlledShutdownResponse:
        try:
            remaining = await self.controller.controlled_shutdown(request.broker_id, request.broker_epoch)
        except ApiError as error:
            return ControlledShutdownResponse(error_code=error.code)
        return ControlledShutdownResponse(
            remaining_partitions=[
                ControlledShutdownResponse.RemainingPartition(
                    topic_name=tp.topic, partition_index=tp.partition
                )
                for tp in remaining
            ]
        )
