"""The sparse time index of a segment: the largest timestamp so far, and the batch that holds it.

An entry is 12 bytes: int64 timestamp in ms, int32 relative last offset of the batch with that timestamp.
Timestamps strictly increase. Sealing and closing a segment force a last entry, so the last one is the
segment's largest timestamp.
"""

from bisect import bisect_right
from struct import Struct

from pybroker.model.ids import Offset

ENTRY_BYTES = 12
_ENTRY = Struct(">qi")
_TIMESTAMP = Struct(">q")
NO_TIMESTAMP = -1


class TimeIndex:
    """The image of one ``.timeindex``. ``persisted`` is how many of its bytes the file holds already."""

    __slots__ = ("base_offset", "entries", "last_timestamp", "persisted")

    def __init__(self, base_offset: Offset, entries: bytearray | None = None) -> None:
        self.base_offset = base_offset
        self.entries = bytearray() if entries is None else entries
        self.persisted = len(self.entries)
        self.last_timestamp = self.last()[0]

    @classmethod
    def parse(cls, base_offset: Offset, data: bytes) -> "TimeIndex | None":
        """Reads a file's content; None if it is insane. A tail of zeros (Kafka preallocates) is dropped."""
        if len(data) % ENTRY_BYTES:
            return None
        entries = bytearray(data)
        if len(entries) > ENTRY_BYTES and not any(entries[-ENTRY_BYTES:]):
            kept = len(entries.rstrip(b"\0"))
            del entries[kept + -kept % ENTRY_BYTES :]
        index = cls(base_offset, entries)
        if len(entries) != len(data):
            index.persisted = -1
        if entries:
            first_timestamp, first_offset = _ENTRY.unpack_from(entries, 0)
            last_timestamp, last_offset = _ENTRY.unpack_from(entries, len(entries) - ENTRY_BYTES)
            count = len(entries) // ENTRY_BYTES
            if first_offset < 0 or last_offset < first_offset or last_timestamp - first_timestamp < count - 1:
                return None
        return index

    def __len__(self) -> int:
        return len(self.entries) // ENTRY_BYTES

    def maybe_append(self, timestamp: int, offset: Offset) -> None:
        """Adds an entry unless the timestamp is not larger than the last one."""
        if timestamp > self.last_timestamp:
            self.entries += _ENTRY.pack(timestamp, offset - self.base_offset)
            self.last_timestamp = timestamp

    def last(self) -> tuple[int, Offset]:
        """(largest timestamp, offset); (-1, base offset) when empty."""
        if not self.entries:
            return NO_TIMESTAMP, self.base_offset
        timestamp, relative = _ENTRY.unpack_from(self.entries, len(self.entries) - ENTRY_BYTES)
        return timestamp, self.base_offset + relative

    def offset_before(self, timestamp: int) -> Offset:
        """An offset up to which every timestamp is at most ``timestamp``; the base offset when none is
        known."""
        entries = self.entries
        slot = bisect_right(
            range(len(entries) // ENTRY_BYTES),
            timestamp,
            key=lambda n: _TIMESTAMP.unpack_from(entries, n * 12)[0],
        )
        if slot == 0:
            return self.base_offset
        return self.base_offset + int(_ENTRY.unpack_from(entries, (slot - 1) * ENTRY_BYTES)[1])

    def items(self) -> list[tuple[int, Offset]]:
        """All entries with absolute offsets."""
        return [
            (timestamp, self.base_offset + offset) for timestamp, offset in _ENTRY.iter_unpack(self.entries)
        ]

    def truncate_to(self, offset: Offset) -> None:
        """Drops the entries at and beyond ``offset``."""
        relative = offset - self.base_offset
        entries = self.entries
        while entries and _ENTRY.unpack_from(entries, len(entries) - ENTRY_BYTES)[1] >= relative:
            del entries[-ENTRY_BYTES:]
        if self.persisted > len(entries):
            self.persisted = -1
        self.last_timestamp = self.last()[0]
