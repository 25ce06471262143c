"""InitProducerId (key 22), versions 0 to 5.

- Gives an idempotent producer a new id, with epoch 0. What the producer says of its old id does not matter
  without a transactional id, as long as it names both id and epoch or neither (KIP-360).

Versions: 3 brings the producer's current id and epoch; 4 the code PRODUCER_FENCED.

Left out for now: transactional ids, refused with TRANSACTIONAL_ID_NOT_FOUND before anything is stored.
"""

from attrs import frozen

from pybroker.coordination.producer_ids import ProducerIds
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import NO_PRODUCER_EPOCH, NO_PRODUCER_ID
from pybroker.protocol.messages import InitProducerIdRequest, InitProducerIdResponse


@frozen
class InitProducerIdHandler:
    producer_ids: ProducerIds

    async def __call__(self, ctx: RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse:  # noqa: ARG002
        if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == NO_PRODUCER_EPOCH):
            return _refusal(ErrorCode.INVALID_REQUEST)
        if request.transactional_id is not None:
            return _refusal(
                ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
                if request.transactional_id
                else ErrorCode.INVALID_REQUEST
            )
        return InitProducerIdResponse(producer_id=await self.producer_ids.next(), producer_epoch=0)


def _refusal(code: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(
        error_code=code, producer_id=NO_PRODUCER_ID, producer_epoch=NO_PRODUCER_EPOCH
    )
