"""AllocateProducerIds (key 67), version 0: a broker asks the controller for producer ids (KIP-730).

- Answered with a block of 1000 ids; no two brokers ever get the same one.
- NOT_CONTROLLER from any other broker, STALE_BROKER_EPOCH to an earlier incarnation, BROKER_ID_NOT_REGISTERED
  to a broker that is not registered.
"""

from pybroker.controller.api import ControllerApi
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError
from pybroker.model.values import Value
from pybroker.protocol.messages import AllocateProducerIdsRequest, AllocateProducerIdsResponse


class AllocateProducerIdsHandler(Value):
    controller: ControllerApi

    async def __call__(
        self,
        ctx: RequestContext,  # noqa: ARG002
        request: AllocateProducerIdsRequest,
    ) -> AllocateProducerIdsResponse:
        try:
            block = await self.controller.allocate_producer_ids(request.broker_id, request.broker_epoch)
        except ApiError as error:
            return AllocateProducerIdsResponse(error_code=error.code)
        return AllocateProducerIdsResponse(producer_id_start=block.start, producer_id_len=len(block))
