"""The aborted transactions of a segment, for readers of committed records only.

An entry is 34 bytes: int16 version 0, int64 producer id, first offset, last offset (the marker's), last
stable offset at that moment. The file exists only if a transaction was aborted.
"""

from collections.abc import Callable, Iterable
from struct import Struct
from typing import NamedTuple

from pybroker.model.ids import Offset, ProducerId
from pybroker.storage.errors import CorruptFile
from pybroker.storage.files import NO_SPACE, Files
from pybroker.storage.names import TXN_INDEX

ENTRY_BYTES = 34
CURRENT_VERSION = 0
_ENTRY = Struct(">hqqqq")


class AbortedTransaction(NamedTuple):
    """One aborted transaction; both offsets are inclusive, the last one is its marker's."""

    producer_id: ProducerId
    first_offset: Offset
    last_offset: Offset
    last_stable_offset: Offset

    def encode(self) -> bytes:
        """The entry as it stands in the file."""
        return _ENTRY.pack(CURRENT_VERSION, *self)


def parse_transaction_index(data: bytes, base_offset: Offset = 0) -> list[AbortedTransaction]:
    """All entries of a file.

    Raises:
        CorruptFile: a torn entry, an unknown version or an entry from before the segment.
    """
    if len(data) % ENTRY_BYTES:
        raise CorruptFile(f"a transaction index of {len(data)} bytes ends inside an entry")
    entries = []
    for version, *fields in _ENTRY.iter_unpack(data):
        entry = AbortedTransaction(*fields)
        if version > CURRENT_VERSION or entry.last_offset < base_offset:
            raise CorruptFile(f"impossible transaction index entry: version {version}, {entry}")
        entries.append(entry)
    return entries


class TransactionIndex:
    """The ``.txnindex`` of one segment, with what a full disk has kept from it so far.

    Args:
        path: where the segment's file with a suffix is now.
    """

    __slots__ = ("_base_offset", "_files", "_path", "_unwritten", "exists")

    def __init__(self, files: Files, path: Callable[[str], str], base_offset: Offset) -> None:
        self._files = files
        self._path = path
        self._base_offset = base_offset
        self._unwritten: tuple[AbortedTransaction, ...] = ()
        self.exists = False
        """Whether there is a file."""

    def __bool__(self) -> bool:
        """Whether a transaction was aborted in this segment."""
        return self.exists or bool(self._unwritten)

    def entries(self) -> list[AbortedTransaction]:
        """The aborted transactions of the segment.

        Raises:
            CorruptFile: the file is damaged.
        """
        return [*self._read(), *self._unwritten]

    def _read(self) -> list[AbortedTransaction]:
        if not self.exists:
            return []
        return parse_transaction_index(self._files.read_bytes(self._path(TXN_INDEX)), self._base_offset)

    def append(self, entry: AbortedTransaction) -> None:
        """Adds an aborted transaction; a full disk makes it wait in memory.

        The marker is in the log already: readers must learn of it whether the file can grow or not.
        """
        self._unwritten = (*self._unwritten, entry)
        self.write_pending()

    def write_pending(self) -> None:
        """Writes what waits, if there is room now."""
        if not self._unwritten:
            return
        files, path = self._files, self._path(TXN_INDEX)
        data = b"".join(entry.encode() for entry in self._unwritten)
        try:
            size = files.size(path) if self.exists else 0
            fd = files.open(path, create=True)
            try:
                files.write_all(fd, data, size - size % ENTRY_BYTES)
            finally:
                files.close(fd)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return
        self.exists = True
        self._unwritten = ()

    def truncate_to(self, offset: Offset) -> None:
        """Drops the aborted transactions whose marker is at or beyond ``offset``."""
        self._unwritten = tuple(entry for entry in self._unwritten if entry.last_offset < offset)
        if not self.exists:
            return
        kept = b""
        for entry in self._read():
            if entry.last_offset >= offset:
                break
            kept += entry.encode()
        self._files.write_bytes(self._path(TXN_INDEX), kept)


def collect_aborted(
    entries: Iterable[AbortedTransaction], start: Offset, end: Offset
) -> tuple[list[AbortedTransaction], bool]:
    """Those that touch [start, end), and whether later segments cannot add to them."""
    found = []
    for entry in entries:
        if entry.last_offset >= start and entry.first_offset < end:
            found.append(entry)
        if entry.last_stable_offset >= end:
            return found, True
    return found, False
