"""The aborted transactions of a segment, for readers of committed records only.

An entry is 34 bytes: int16 version 0, int64 producer id, first offset, last offset (the marker's), last
stable offset at that moment. The file exists only if a transaction was aborted.
"""

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from pybroker.model.ids import Offset, ProducerId
from pybroker.storage.errors import CorruptFile

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
