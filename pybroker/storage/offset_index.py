"""The sparse offset index of a segment: which batch position to start scanning at.

An entry is 8 bytes: int32 offset relative to the segment, int32 position of its batch. Offsets and
positions both strictly increase. Not memory-mapped: an image in memory, appended to its file.
"""

from bisect import bisect_right
from struct import Struct

from pybroker.model.ids import Offset

ENTRY_BYTES = 8
_ENTRY = Struct(">ii")
_OFFSET = Struct(">i")
_POSITION = Struct(">i")
_pack = _ENTRY.pack
_unpack = _ENTRY.unpack_from


class OffsetIndex:
    """The image of one ``.index``. ``persisted`` is how many of its bytes the file holds already."""

    __slots__ = ("base_offset", "entries", "persisted")

    def __init__(self, base_offset: Offset, entries: bytearray | None = None) -> None:
        self.base_offset = base_offset
        self.entries = bytearray() if entries is None else entries
        self.persisted = len(self.entries)

    @classmethod
    def parse(cls, base_offset: Offset, data: bytes, log_bytes: int) -> "OffsetIndex | None":
        """Reads a file's content; None if it cannot belong to a log of that size and must be rebuilt.

        A tail of zeros (Kafka preallocates) is accepted and dropped.
        """
        entries = bytearray(data[: len(data) - len(data) % ENTRY_BYTES])
        while entries and not any(entries[-ENTRY_BYTES:]):
            kept = len(entries.rstrip(b"\0"))
            del entries[kept + -kept % ENTRY_BYTES :]
        index = cls(base_offset, entries)
        index.persisted = len(entries) if len(entries) == len(data) else -1
        return index if index._is_sane(log_bytes) and len(data) % ENTRY_BYTES == 0 else None

    def _is_sane(self, log_bytes: int) -> bool:
        if not self.entries:
            return True
        first_offset, first_position = _unpack(self.entries, 0)
        last_offset, last_position = _unpack(self.entries, len(self.entries) - ENTRY_BYTES)
        count = len(self.entries) // ENTRY_BYTES
        return bool(
            first_offset >= 0
            and first_position >= 0
            and last_offset - first_offset >= count - 1
            and last_position - first_position >= count - 1
            and last_position < log_bytes
        )

    def __len__(self) -> int:
        return len(self.entries) // ENTRY_BYTES

    def append(self, offset: Offset, position: int) -> None:
        """Adds the last offset of a batch and the batch's position; both larger than the last entry's."""
        self.entries += _pack(offset - self.base_offset, position)

    def position_for(self, offset: Offset) -> int:
        """Position of a batch at or before the one that holds ``offset``; 0 when no entry is that early."""
        relative = offset - self.base_offset
        entries = self.entries
        slot = bisect_right(
            range(len(entries) // ENTRY_BYTES), relative, key=lambda n: _OFFSET.unpack_from(entries, n * 8)[0]
        )
        if slot == 0:
            return 0
        position: int = _POSITION.unpack_from(entries, slot * ENTRY_BYTES - 4)[0]
        return position

    def position_before(self, position: int) -> int:
        """The largest indexed batch position that is not beyond ``position``; 0 if there is none."""
        entries = self.entries
        slot = bisect_right(
            range(len(entries) // ENTRY_BYTES),
            position,
            key=lambda n: _POSITION.unpack_from(entries, n * 8 + 4)[0],
        )
        if slot == 0:
            return 0
        found: int = _POSITION.unpack_from(entries, slot * ENTRY_BYTES - 4)[0]
        return found

    def last_position(self) -> int:
        """Position of the last indexed batch; 0 if there is none."""
        return int(_POSITION.unpack_from(self.entries, len(self.entries) - 4)[0]) if self.entries else 0

    def items(self) -> list[tuple[Offset, int]]:
        """All entries with absolute offsets."""
        return [
            (self.base_offset + offset, position) for offset, position in _ENTRY.iter_unpack(self.entries)
        ]

    def truncate_to(self, offset: Offset) -> None:
        """Drops the entries at and beyond ``offset``."""
        relative = offset - self.base_offset
        entries = self.entries
        while entries and _OFFSET.unpack_from(entries, len(entries) - ENTRY_BYTES)[0] >= relative:
            del entries[-ENTRY_BYTES:]
        if self.persisted > len(entries):
            self.persisted = -1
