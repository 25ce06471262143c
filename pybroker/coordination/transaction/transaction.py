"""The state of one transactional id: who its producer is, and what its transaction has come to.

Nothing here decides; the decisions are in ``initializing``, ``partitions``, ``ending``, ``completing`` and
``sweeps``, which are the only writers, on the trio thread.
"""

from typing import Any

from msgspec.structs import replace

from pybroker.coordination.transaction.calls import TV_0, TV_2, Producer, TransactionDescription
from pybroker.coordination.transaction.states import EMPTY, PREVIOUS_STATES, TransactionState
from pybroker.model.ids import (
    LAST_PRODUCER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    ProducerEpoch,
    ProducerId,
    TopicPartition,
)
from pybroker.model.values import Value

NO_TIME = -1


class TransactionMetadata(Value):
    """What one record says.

    Attributes:
        producer: whose records count.
        previous_id: the producer id before this one; -1 if there was none.
        next_id: the id that the producer goes on with after a transaction that used up its epochs.
        last_epoch: the epoch before the current one, for a request that is sent again; -1 if it may not be.
            Not stored.
        partitions: those that the transaction has written to.
        start_ms: when it got its first partition; -1 before.
        client_version: of the transaction protocol, as the client spoke it last.
    """

    producer: Producer
    timeout_ms: int
    state: TransactionState
    updated_ms: int
    partitions: frozenset[TopicPartition] = frozenset()
    start_ms: int = NO_TIME
    last_epoch: ProducerEpoch = NO_PRODUCER_EPOCH
    previous_id: ProducerId = NO_PRODUCER_ID
    next_id: ProducerId = NO_PRODUCER_ID
    client_version: int = TV_0

    @property
    def bumps_epochs(self) -> bool:
        """Whether the epoch grows with every transaction."""
        return self.client_version >= TV_2

    @property
    def is_exhausted(self) -> bool:
        """Whether the producer has no epoch left to be given."""
        return is_exhausted(self.producer.producer_epoch)

    def after(self, state: TransactionState, now_ms: int, **changes: Any) -> "TransactionMetadata":
        """The metadata of a later state."""
        return replace(self, state=state, updated_ms=now_ms, previous_id=self.producer.producer_id, **changes)


def is_exhausted(epoch: ProducerEpoch) -> bool:
    """Whether the epoch is the last that a client may have."""
    return epoch >= LAST_PRODUCER_EPOCH - 1


class Transaction:
    """A transactional id.

    Attributes:
        metadata: what is in the log, committed.
        pending: what is being written; until that has gone well or wrong nothing else is decided.
        unmarked: partitions that still have to get the marker of a decided transaction.
        has_failed_fence: the epoch was raised to fence a producer, and could not be stored.
    """

    __slots__ = ("has_failed_fence", "metadata", "pending", "transactional_id", "unmarked")

    def __init__(self, transactional_id: str, metadata: TransactionMetadata) -> None:
        self.transactional_id = transactional_id
        self.metadata = metadata
        self.pending: TransactionMetadata | None = None
        self.unmarked: set[TopicPartition] = set()
        self.has_failed_fence = False

    @classmethod
    def new(
        cls, transactional_id: str, producer_id: ProducerId, timeout_ms: int, now_ms: int
    ) -> "Transaction":
        """An id that nobody has used yet: its producer has no epoch before the first record."""
        producer = Producer(producer_id, NO_PRODUCER_EPOCH)
        return cls(transactional_id, TransactionMetadata(producer, timeout_ms, EMPTY, now_ms))

    @property
    def state(self) -> TransactionState:
        return self.metadata.state

    @property
    def producer(self) -> Producer:
        return self.metadata.producer

    def begin(self, metadata: TransactionMetadata) -> None:
        """It is being written; only along the table, all else is a bug."""
        assert self.pending is None, f"{self.transactional_id}: {self.pending} is still being written"
        allowed = PREVIOUS_STATES[metadata.state]
        assert self.state in allowed, f"{self.transactional_id}: {self.state} cannot become {metadata.state}"
        self.pending = metadata

    def apply(self, metadata: TransactionMetadata) -> None:
        """It is in the log, committed."""
        self.metadata = metadata
        self.pending = None

    def describe(self) -> TransactionDescription:
        metadata = self.metadata
        return TransactionDescription(
            state=self.state.word,
            producer=metadata.producer,
            timeout_ms=metadata.timeout_ms,
            start_ms=metadata.start_ms,
            partitions=frozenset(self.unmarked) if self.unmarked else metadata.partitions,
        )
