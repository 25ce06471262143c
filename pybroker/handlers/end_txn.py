"""EndTxn (key 26), versions 0 to 5.

- Answered when the decision is in the coordinator's log; the markers are written after it.
- The same decision again is agreed to, the other one refused with INVALID_TXN_STATE.

Versions: 2 the code PRODUCER_FENCED (KIP-588); 4 TRANSACTION_ABORTABLE; 5 answers the epoch, or producer id,
that the next transaction has (KIP-890 part 2), and aborts a transaction that never began.
"""

from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.coordination.transaction.calls import TV_0, TV_2, EndCall, Producer
from pybroker.handlers.context import RequestContext
from pybroker.handlers.producer_errors import in_words_of
from pybroker.model.errors import ApiError
from pybroker.model.values import Value
from pybroker.protocol.messages import EndTxnRequest, EndTxnResponse

FIRST_VERSION_WITH_FENCED = 2
FIRST_VERSION_THAT_BUMPS = 5


class EndTxnHandler(Value):
    transactions: TransactionCoordinator

    async def __call__(self, ctx: RequestContext, request: EndTxnRequest) -> EndTxnResponse:
        call = EndCall(
            request.transactional_id,
            Producer(request.producer_id, request.producer_epoch),
            request.committed,
            TV_2 if ctx.api_version >= FIRST_VERSION_THAT_BUMPS else TV_0,
        )
        try:
            reply = await self.transactions.end(call)
        except ApiError as error:
            return EndTxnResponse(error_code=error.code)
        return EndTxnResponse(
            error_code=in_words_of(ctx, reply.error, FIRST_VERSION_WITH_FENCED),
            producer_id=reply.producer.producer_id,
            producer_epoch=reply.producer.producer_epoch,
        )
