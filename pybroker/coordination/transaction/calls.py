"""What the handlers ask of a transaction and what they are told, free of wire formats."""

from typing import NamedTuple

from msgspec import field

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, ProducerEpoch, ProducerId, TopicPartition
from pybroker.model.values import Value

TV_0 = 0
"""The client keeps its epoch from transaction to transaction, and adds partitions itself."""

TV_2 = 2
"""The client gets a new epoch with every transaction, and its partitions are added by Produce (KIP-890)."""


class Producer(NamedTuple):
    """A producer id in one of its epochs."""

    producer_id: ProducerId = NO_PRODUCER_ID
    producer_epoch: ProducerEpoch = NO_PRODUCER_EPOCH


NOBODY = Producer()


class InitCall(Value):
    """An InitProducerId request with a transactional id.

    Attributes:
        expected: who the producer believes to be (KIP-360); None for one that begins.
        spare_id: a producer id that has not been given to anybody, for the case that one is needed.
    """

    transactional_id: str
    timeout_ms: int
    expected: Producer | None = None
    spare_id: ProducerId | None = None


class InitReply(Value):
    """``needs_id``: ask again with a ``spare_id``; nothing has been decided."""

    error: ErrorCode = ErrorCode.NONE
    producer: Producer = NOBODY
    needs_id: bool = False


class PartitionsCall(Value):
    """An AddPartitionsToTxn request for one transaction, or what comes to the same."""

    transactional_id: str
    producer: Producer
    partitions: frozenset[TopicPartition]
    client_version: int = TV_0


class EndCall(Value):
    """An EndTxn request. ``spare_id`` is as in :class:`InitCall`."""

    transactional_id: str
    producer: Producer
    is_commit: bool
    client_version: int = TV_0
    spare_id: ProducerId | None = None


class EndReply(Value):
    """``producer`` is who goes on from here, of interest to clients whose epoch grows."""

    error: ErrorCode = ErrorCode.NONE
    producer: Producer = NOBODY
    needs_id: bool = False


class ListFilter(Value):
    """Which transactions to list; what is empty or negative lets all pass."""

    states: frozenset[str] = frozenset()
    producer_ids: frozenset[ProducerId] = frozenset()
    longer_than_ms: int = -1


class TransactionListing(Value):
    """One line of ListTransactions."""

    transactional_id: str
    producer_id: ProducerId
    state: str


class TransactionDescription(Value):
    """What DescribeTransactions tells; ``start_ms`` is -1 when none has begun."""

    state: str
    producer: Producer
    timeout_ms: int
    start_ms: int
    partitions: frozenset[TopicPartition] = field(default_factory=frozenset)
