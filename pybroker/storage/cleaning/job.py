"""What the broker asks of a cleaner process, and what that answers; one line of JSON each."""

import json
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import convert, field, to_builtins

from pybroker.model.ids import Offset, ProducerId, TopicPartition
from pybroker.model.values import Value
from pybroker.storage.cleaning.batch_filter import CleanStats, LastWrite
from pybroker.storage.log_config import LogConfig
from pybroker.storage.transaction_index import AbortedTransaction


class CleanerLimits(Value):
    """What one cleaner process may use."""

    map_bytes: int = 128 << 20
    map_load_factor: float = 0.9
    buffer_bytes: int = 256 << 10
    """How much is read at once."""
    max_bytes_per_second: float = float("inf")
    """Of reading and writing together."""


class CleanJob(Value):
    """One clean of one log: all of its segments before ``first_uncleanable_offset``.

    ``segments`` are (base offset, size in bytes) of these, in order; ``aborted`` are the aborted transactions
    that touch them.
    """

    directory: str
    topic_partition: TopicPartition
    segments: Sequence[tuple[Offset, int]]
    first_dirty_offset: Offset
    first_uncleanable_offset: Offset
    config: LogConfig
    now_ms: int
    last_writes: dict[ProducerId, LastWrite]
    aborted: Sequence[AbortedTransaction]
    limits: CleanerLimits = field(default_factory=CleanerLimits)

    def encode(self) -> str:
        """One line, without its end."""
        return json.dumps(to_builtins(self, str_keys=True))

    @classmethod
    def decode(cls, line: str | bytes) -> "CleanJob":
        """The inverse of :meth:`encode`."""
        return convert(json.loads(line), cls, str_keys=True)


class CleanedGroup(Value, tag=True):
    """Segments ``bases`` have become one, which lies durably in ``.cleaned`` files at the first base."""

    bases: Sequence[Offset]
    size: int
    has_txn_index: bool


class Cleaned(Value, tag=True):
    """The clean is over; everything before ``end_offset`` (exclusive) is clean once all is swapped in."""

    end_offset: Offset
    stats: CleanStats
    map_utilization: float


class DamagedLog(Value, tag=True):
    """The log cannot be cleaned, because of what is in it."""

    reason: str


Answer: TypeAlias = CleanedGroup | Cleaned | DamagedLog | OSError
"""Groups in order, then one of the others."""


class _Failed(Value, tag=True):
    errno: int | None
    error: str | None


def encode_answer(answer: Answer) -> str:
    """One line, without its end."""
    if isinstance(answer, OSError):
        return json.dumps(to_builtins(_Failed(answer.errno, answer.strerror)))
    return json.dumps(to_builtins(answer))


def decode_answer(line: str | bytes) -> Answer:
    """The inverse of :func:`encode_answer`."""
    answer: CleanedGroup | Cleaned | DamagedLog | _Failed
    answer = convert(json.loads(line), CleanedGroup | Cleaned | DamagedLog | _Failed)
    return OSError(answer.errno, answer.error) if isinstance(answer, _Failed) else answer
