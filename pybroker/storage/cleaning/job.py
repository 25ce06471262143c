"""What the broker asks of a cleaner process, and what that answers; one line of JSON each."""

import json
from collections.abc import Sequence
from typing import TypeAlias

from attrs import asdict, field

from pybroker.model.ids import Offset, ProducerId, TopicPartition
from pybroker.model.values import frozen
from pybroker.storage.cleaning.batch_filter import CleanStats, LastWrite
from pybroker.storage.log_config import LogConfig
from pybroker.storage.transaction_index import AbortedTransaction


@frozen
class CleanerLimits:
    """What one cleaner process may use."""

    map_bytes: int = 128 << 20
    map_load_factor: float = 0.9
    buffer_bytes: int = 256 << 10
    """How much is read at once."""
    max_bytes_per_second: float = float("inf")
    """Of reading and writing together."""


@frozen
class CleanJob:
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
    limits: CleanerLimits = field(factory=CleanerLimits)

    def encode(self) -> str:
        """One line, without its end."""
        fields = asdict(self, recurse=False)
        fields["config"] = asdict(self.config)
        fields["limits"] = asdict(self.limits)
        return json.dumps(fields)

    @classmethod
    def decode(cls, line: str | bytes) -> "CleanJob":
        """The inverse of :meth:`encode`."""
        fields = json.loads(line)
        return cls(
            fields["directory"],
            TopicPartition(*fields["topic_partition"]),
            [(base, size) for base, size in fields["segments"]],
            fields["first_dirty_offset"],
            fields["first_uncleanable_offset"],
            LogConfig(**fields["config"]),
            fields["now_ms"],
            {int(producer_id): LastWrite(*write) for producer_id, write in fields["last_writes"].items()},
            [AbortedTransaction(*entry) for entry in fields["aborted"]],
            CleanerLimits(**fields["limits"]),
        )


@frozen
class CleanedGroup:
    """Segments ``bases`` have become one, which lies durably in ``.cleaned`` files at the first base."""

    bases: Sequence[Offset]
    size: int
    has_txn_index: bool


@frozen
class Cleaned:
    """The clean is over; everything before ``end_offset`` (exclusive) is clean once all is swapped in."""

    end_offset: Offset
    stats: CleanStats
    map_utilization: float


@frozen
class DamagedLog:
    """The log cannot be cleaned, because of what is in it."""

    reason: str


Answer: TypeAlias = CleanedGroup | Cleaned | DamagedLog | OSError
"""Groups in order, then one of the others."""


def encode_answer(answer: Answer) -> str:
    """One line, without its end."""
    match answer:
        case CleanedGroup() | DamagedLog() | Cleaned():
            return json.dumps({"kind": type(answer).__name__, **asdict(answer)})
        case OSError():
            return json.dumps({"kind": "OSError", "errno": answer.errno, "error": answer.strerror})


def decode_answer(line: str | bytes) -> Answer:
    """The inverse of :func:`encode_answer`."""
    fields = json.loads(line)
    match fields.pop("kind"):
        case "CleanedGroup":
            return CleanedGroup(**fields)
        case "Cleaned":
            return Cleaned(fields["end_offset"], CleanStats(**fields["stats"]), fields["map_utilization"])
        case "DamagedLog":
            return DamagedLog(**fields)
        case _:
            return OSError(fields["errno"], fields["error"])
