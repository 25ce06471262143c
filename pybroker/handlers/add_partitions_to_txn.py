"""AddPartitionsToTxn (key 24), versions 0 to 5.

- Up to version 3 a producer adds partitions to its transaction before it writes to them. From version 4
  brokers ask for many transactions at once: to add partitions for their clients, or only to verify them
  (KIP-890).
- A partition that does not exist fails the whole transaction's request: the others are answered
  OPERATION_NOT_ATTEMPTED.
- The first partitions begin the transaction, and with it its time-out.

Versions: 2 the code PRODUCER_FENCED (KIP-588); 4 many transactions, verify_only; 5 transactions whose epoch
grows (KIP-890 part 2).
"""

from collections.abc import Iterable, Mapping

from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.coordination.transaction.calls import TV_0, TV_2, PartitionsCall, Producer
from pybroker.handlers.context import RequestContext
from pybroker.handlers.producer_errors import in_words_of
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import AddPartitionsToTxnRequest, AddPartitionsToTxnResponse

FIRST_VERSION_WITH_FENCED = 2
FIRST_VERSION_BETWEEN_BROKERS = 4
FIRST_VERSION_THAT_BUMPS = 5


class AddPartitionsToTxnHandler(Value):
    transactions: TransactionCoordinator

    async def __call__(
        self, ctx: RequestContext, request: AddPartitionsToTxnRequest
    ) -> AddPartitionsToTxnResponse:
        if ctx.api_version < FIRST_VERSION_BETWEEN_BROKERS:
            return AddPartitionsToTxnResponse(
                results_by_topic_v3_and_below=await self._answer(ctx, _single(request))
            )
        return AddPartitionsToTxnResponse(
            results_by_transaction=[
                AddPartitionsToTxnResponse.AddPartitionsToTxnResult(
                    transactional_id=asked.transactional_id, topic_results=await self._answer(ctx, asked)
                )
                for asked in request.transactions
            ]
        )

    async def _answer(
        self, ctx: RequestContext, asked: AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction
    ) -> list[AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult]:
        partitions = frozenset(
            TopicPartition(topic.name, index) for topic in asked.topics for index in topic.partitions
        )
        missing = {tp for tp in partitions if ctx.image.partition(tp) is None}
        if missing:
            return _by_partition(
                {
                    tp: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                    if tp in missing
                    else ErrorCode.OPERATION_NOT_ATTEMPTED
                    for tp in partitions
                }
            )
        call = PartitionsCall(
            asked.transactional_id,
            Producer(asked.producer_id, asked.producer_epoch),
            partitions,
            TV_2 if ctx.api_version >= FIRST_VERSION_THAT_BUMPS else TV_0,
        )
        if asked.verify_only:
            return _by_partition(self._verify(call))
        try:
            code = await self.transactions.add(call)
        except ApiError as error:
            code = error.code
        return _all(asked.topics, in_words_of(ctx, code, FIRST_VERSION_WITH_FENCED))

    def _verify(self, call: PartitionsCall) -> Mapping[TopicPartition, ErrorCode]:
        try:
            return self.transactions.verify(call)
        except ApiError as error:
            return dict.fromkeys(call.partitions, error.code)


def _single(
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction:
    return AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(
        transactional_id=request.v3_and_below_transactional_id,
        producer_id=request.v3_and_below_producer_id,
        producer_epoch=request.v3_and_below_producer_epoch,
        topics=request.v3_and_below_topics,
    )


_TopicResult = AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
_PartitionResult = AddPartitionsToTxnResponse.AddPartitionsToTxnPartitionResult


def _all(
    topics: Iterable[AddPartitionsToTxnRequest.AddPartitionsToTxnTopic], code: ErrorCode
) -> list[_TopicResult]:
    """One code for everything that was asked, in the same words: also for a topic without partitions, and for
    a partition as often as it was named."""
    return [
        _TopicResult(
            name=topic.name,
            results_by_partition=[
                _PartitionResult(partition_index=index, partition_error_code=code)
                for index in topic.partitions
            ],
        )
        for topic in topics
    ]


def _by_partition(codes: Mapping[TopicPartition, ErrorCode]) -> list[_TopicResult]:
    topics: dict[str, list[_PartitionResult]] = {}
    for tp, code in sorted(codes.items()):
        topics.setdefault(tp.topic, []).append(
            _PartitionResult(partition_index=tp.partition, partition_error_code=code)
        )
    return [_TopicResult(name=name, results_by_partition=results) for name, results in topics.items()]
