"""AddOffsetsToTxn (key 25), versions 0 to 4.

- Adds the partition of ``__consumer_offsets`` that a group lives in to a transaction, before TxnOffsetCommit.

Versions: 2 the code PRODUCER_FENCED (KIP-588); 4 TRANSACTION_ABORTABLE (KIP-890).
"""

from collections.abc import Callable

from pybroker.coordination.partitioning import coordinator_partition
from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.coordination.transaction.calls import PartitionsCall, Producer
from pybroker.handlers.context import RequestContext
from pybroker.handlers.producer_errors import in_words_of
from pybroker.model.errors import ApiError
from pybroker.model.ids import TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS
from pybroker.model.values import Value
from pybroker.protocol.messages import AddOffsetsToTxnRequest, AddOffsetsToTxnResponse

FIRST_VERSION_WITH_FENCED = 2


class AddOffsetsToTxnHandler(Value):
    """``offsets_partitions`` is how many partitions the offsets topic has."""

    transactions: TransactionCoordinator
    offsets_partitions: Callable[[], int]

    async def __call__(self, ctx: RequestContext, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse:
        index = coordinator_partition(request.group_id, self.offsets_partitions())
        call = PartitionsCall(
            request.transactional_id,
            Producer(request.producer_id, request.producer_epoch),
            frozenset({TopicPartition(CONSUMER_OFFSETS, index)}),
        )
        try:
            code = await self.transactions.add(call)
        except ApiError as error:
            code = error.code
        return AddOffsetsToTxnResponse(error_code=in_words_of(ctx, code, FIRST_VERSION_WITH_FENCED))
