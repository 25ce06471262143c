"""What a reader of a partition may see, and what it gets."""

from enum import IntEnum

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId, Offset
from pybroker.model.values import Value
from pybroker.replication.observers import Observers
from pybroker.storage.leader_epochs import EpochEndOffset
from pybroker.storage.segments import LogRead
from pybroker.storage.transaction_index import AbortedTransaction


class Isolation(IntEnum):
    """How far a reader may see; the values of ``isolation_level`` on the wire."""

    READ_UNCOMMITTED = 0
    READ_COMMITTED = 1

    @classmethod
    def of(cls, level: int) -> "Isolation":
        """The level that a request names.

        Raises:
            ApiError: UNKNOWN_SERVER_ERROR, as Kafka answers a level that does not exist.
        """
        try:
            return cls(level)
        except ValueError:
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, f"Unknown isolation level {level}") from None


class FetchedData(Value):
    """What a reader gets of one partition; offsets are those of the moment of reading."""

    read: LogRead
    high_watermark: Offset
    last_stable_offset: Offset
    log_start_offset: Offset
    aborted: list[AbortedTransaction] | None
    """Transactions that the reader must leave out; None unless it reads committed records only."""

    diverging: EpochEndOffset | None = None
    """Where the reader's log and this one part ways; it gets no records before it has gone back there."""

    preferred_replica: BrokerId | None = None
    """Who is nearer to the reader, and shall be asked instead."""

    observers: Observers | None = None
    """Set for a follower that has everything: who is among them hears when there is something new."""
