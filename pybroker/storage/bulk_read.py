"""Reading a segment from one end to the other, in stretches that fit into the processor's cache."""

from collections.abc import Iterator

from pybroker.records.header import BatchHeader
from pybroker.storage.batch_scan import header_at
from pybroker.storage.errors import CorruptRecords
from pybroker.storage.files import Files
from pybroker.storage.segment import Segment

READ_BYTES = 512 << 10
"""Small enough to be in the processor's cache when the CRC is computed."""
READ_AHEAD_BYTES = 8 << 20


class BulkReader:
    """One buffer that goes over a segment. ``position`` is where it stands."""

    __slots__ = ("_announced", "_buffer", "_end", "_fd", "_files", "_filled", "position")

    def __init__(self, files: Files, segment: Segment, position: int = 0, end: int | None = None) -> None:
        self.position = position
        self._files = files
        self._fd = segment.open_handle().fd
        self._end = segment.size if end is None else end
        self._buffer = memoryview(bytearray(min(READ_BYTES, max(0, self._end - position))))
        self._announced = position
        self._filled = 0

    def read(self) -> memoryview:
        """The bytes from ``position`` on, nothing at the end. They are valid until the next call."""
        if self.position + READ_AHEAD_BYTES // 2 >= self._announced:
            self._files.will_read(self._fd, self._announced, READ_AHEAD_BYTES)
            self._announced += READ_AHEAD_BYTES
        room = self._buffer[: self._end - self.position]
        self._filled = self._files.pread_into(self._fd, room, self.position) if room else 0
        return room[: self._filled]

    def advance(self, used: int, needed: int) -> bool:
        """Goes on behind the ``used`` bytes. False if there is no use in reading again: what begins there is
        not wholly in the segment.

        Args:
            needed: the size of what begins there; 0 if even that could not be told.
        """
        if used:
            self.position += used
            return True
        if needed <= self._filled or needed > self._end - self.position:
            return False
        self._buffer = memoryview(bytearray(needed))
        return True


def whole_batches(
    files: Files, segment: Segment, position: int
) -> Iterator[tuple[int, BatchHeader, memoryview]]:
    """(position, header, bytes) of every batch that is wholly there; stops where the bytes make no sense.

    The bytes are those of the batch only until the next one is asked for.
    """
    reader = BulkReader(files, segment, position)
    while chunk := reader.read():
        used = size = 0
        while True:
            try:
                header = header_at(chunk, used)
            except CorruptRecords:
                return
            size = header.size_in_bytes if header is not None else 0
            if header is None or used + size > len(chunk):
                break
            yield reader.position + used, header, chunk[used : used + size]
            used += size
        if not reader.advance(used, size):
            return
