"""AlterPartition (key 56), versions 0 to 3: a leader asks the controller for other in-sync replicas.

- Answered per partition with the state as it is now, or why it stays; the rules are in
  :mod:`pybroker.controller.alter_partition`.
- NOT_CONTROLLER from any other broker, STALE_BROKER_EPOCH to an earlier incarnation of the leader.

Versions: 1 leader recovery state (KIP-704); 2 topic ids (KIP-841); 3 broker epochs of ISR members (KIP-903).
"""

from pybroker.controller.api import ControllerApi
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.values import Value
from pybroker.protocol.messages import AlterPartitionRequest, AlterPartitionResponse


class AlterPartitionHandler(Value):
    controller: ControllerApi

    async def __call__(self, ctx: RequestContext, request: AlterPartitionRequest) -> AlterPartitionResponse:
        try:
            return await self.controller.alter_partition(request, ctx.api_version)
        except ApiError as error:
            return AlterPartitionResponse(error_code=error.code)
