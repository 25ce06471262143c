"""The part of Produce that belongs to transactions (KIP-890).

A partition takes the first batch of a transaction only when the transaction's coordinator says that the
partition is part of it; from version 12 the coordinator makes it so. Between question and append a marker may
end the transaction: the log's guard notices.
"""

from collections.abc import Iterable, Mapping

from msgspec import field

from pybroker.coordination.runtime.verification import Support, TransactionVerifier
from pybroker.coordination.transaction.calls import Producer
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import BatchHeader, is_transactional, read_batch_header
from pybroker.replication.replicas import Replicas

FIRST_VERSION_WITH_ABORTABLE = 11
FIRST_VERSION_THAT_ADDS = 12

_TRY_AGAIN = frozenset(
    {
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
    }
)
"""Answers of the coordinator that producers do not expect from a partition: they are told
NOT_ENOUGH_REPLICAS, which they try again without looking for other leaders."""


class Confirmed(Value):
    """What is known of the partitions of one request.

    Attributes:
        guards: what the log wants to see, by partition whose transaction was asked about.
        refusals: why a partition may not be written.
    """

    guards: Mapping[TopicPartition, object] = field(default_factory=dict)
    refusals: Mapping[TopicPartition, ApiError] = field(default_factory=dict)


NOTHING_TO_CONFIRM = Confirmed()


async def confirm(
    verifier: TransactionVerifier,
    replicas: Replicas,
    ctx: RequestContext,
    transactional_id: str,
    batches: Iterable[tuple[TopicPartition, memoryview | None]],
) -> Confirmed:
    """Have the transactional batches of a request confirmed, all at once.

    Raises:
        ApiError: INVALID_PRODUCER_ID_MAPPING, the batches are of several producers.
    """
    support = _support(ctx)
    if not verifier.concerns(support):
        return NOTHING_TO_CONFIRM
    headers: dict[TopicPartition, BatchHeader] = {}
    for tp, records in batches:
        if records is None or not is_transactional(records):
            continue
        try:
            header = read_batch_header(records)
        except InvalidRecords:
            continue  # refused with all its reasons when it is validated
        if header.producer_id >= 0:
            headers[tp] = header
    producers = {Producer(header.producer_id, header.producer_epoch) for header in headers.values()}
    if len(producers) > 1:
        raise ApiError(
            ErrorCode.INVALID_PRODUCER_ID_MAPPING,
            "Transactional records contained more than one producer ID",
        )
    if not producers:
        return NOTHING_TO_CONFIRM
    verified = await verifier.confirm(
        transactional_id, producers.pop(), lambda: _start(replicas, headers), support
    )
    refused = {tp: code for tp, code in verified.codes.items() if code is not ErrorCode.NONE}
    return Confirmed(verified.guards, {tp: _refusal(code, support) for tp, code in refused.items()})


def _start(replicas: Replicas, headers: Mapping[TopicPartition, BatchHeader]) -> dict[TopicPartition, object]:
    """The guards of those partitions whose transaction is not open yet."""
    guards = {}
    for tp, header in headers.items():
        partition = replicas.find(tp)
        if partition is not None and partition.is_leader:
            guard = partition.start_verification(
                header.producer_id, header.producer_epoch, header.base_sequence
            )
            if guard is not None:
                guards[tp] = guard
    return guards


def _support(ctx: RequestContext) -> Support:
    if ctx.api_version >= FIRST_VERSION_THAT_ADDS:
        return Support.ADDS
    return Support.ABORTABLE if ctx.api_version >= FIRST_VERSION_WITH_ABORTABLE else Support.OLD_ERRORS


def _refusal(code: ErrorCode, support: Support) -> ApiError:
    if code is ErrorCode.INVALID_TXN_STATE:
        return ApiError(code, "Partition was not added to the transaction")
    is_busy = code is ErrorCode.CONCURRENT_TRANSACTIONS and support is not Support.ADDS
    if is_busy or code in _TRY_AGAIN:
        return ApiError(
            ErrorCode.NOT_ENOUGH_REPLICAS,
            "Unable to verify the partition has been added to the transaction. "
            f"Underlying error: {code.name}",
        )
    return ApiError(code)
