"""InitProducerId (key 22), versions 0 to 5.

- Without a transactional id: a new producer id with epoch 0. What the producer says of its old id does not
  matter then, as long as it names both id and epoch or neither (KIP-360).
- With one: the next epoch of the id's producer, which fences all before; a new producer id when the epochs
  are used up. An open transaction is aborted first, and the client told to come again
  (CONCURRENT_TRANSACTIONS).
- A producer that says who it is gets its next epoch only if nobody has come since; a repeated request gets
  the same answer.

Versions: 3 brings the producer's current id and epoch; 4 the code PRODUCER_FENCED.
"""

from pybroker.coordination.producer_ids import ProducerIds
from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.coordination.transaction.calls import NOBODY, InitCall, Producer
from pybroker.handlers.context import RequestContext
from pybroker.handlers.producer_errors import in_words_of
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_PRODUCER_EPOCH, NO_PRODUCER_ID
from pybroker.model.values import Value
from pybroker.protocol.messages import InitProducerIdRequest, InitProducerIdResponse

FIRST_VERSION_WITH_FENCED = 4


class InitProducerIdHandler(Value):
    producer_ids: ProducerIds
    transactions: TransactionCoordinator

    async def __call__(self, ctx: RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse:
        if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == NO_PRODUCER_EPOCH):
            return _reply(ErrorCode.INVALID_REQUEST)
        if request.transactional_id is None:
            return _reply(ErrorCode.NONE, Producer(await self.producer_ids.next(), 0))
        said = Producer(request.producer_id, request.producer_epoch)
        call = InitCall(
            request.transactional_id, request.transaction_timeout_ms, None if said == NOBODY else said
        )
        try:
            reply = await self.transactions.init(call)
        except ApiError as error:
            return _reply(error.code)
        return _reply(in_words_of(ctx, reply.error, FIRST_VERSION_WITH_FENCED), reply.producer)


def _reply(code: ErrorCode, producer: Producer = NOBODY) -> InitProducerIdResponse:
    return InitProducerIdResponse(
        error_code=code, producer_id=producer.producer_id, producer_epoch=producer.producer_epoch
    )
