"""A log on its way to another directory: a copy of its batches that follows it until it may take its place.

Everything here is short and synchronous; who moves a log decides when the next piece is due.
Source: ``ReplicaAlterLogDirsThread`` of Kafka 3.9 (KIP-113).
"""

from msgspec import field

from pybroker.model.values import State
from pybroker.records.header import BatchHeader, read_batch_header
from pybroker.records.layout import BATCH_HEADER_BYTES
from pybroker.storage.leader_epochs import UNKNOWN_EPOCH_END
from pybroker.storage.log import Log
from pybroker.storage.segments import LogRead

PIECE_BYTES = 256 * 1024
"""How much is copied at a time: appending it holds the thread for some milliseconds at most."""


class LogCopy(State, eq=False):
    """``copy`` becomes what ``source`` is; only this object writes to it.

    Every method may raise what :class:`Log` raises: ``LogDirFailed`` of either, and ``DiskFull`` or
    ``CorruptRecords`` on taking a piece.
    """

    source: Log
    copy: Log
    _cuts: int = field(default=-1)

    @property
    def lag(self) -> int:
        """Offsets that the copy is behind; negative after the source was cut, until :meth:`follow`."""
        return self.source.log_end_offset - self.copy.log_end_offset

    @property
    def was_cut(self) -> bool:
        """Whether the source lost its end since :meth:`follow`."""
        return self._cuts != self.source.cuts

    @property
    def is_complete(self) -> bool:
        """Whether the copy ends where the source ends, and has nothing else."""
        return self.lag == 0 and not self.was_cut

    def follow(self) -> None:
        """Takes over where the source begins now, and drops what it no longer has."""
        source, copy = self.source, self.copy
        if self.was_cut:
            if copy.size_in_bytes:
                self._drop_what_differs()
            self._cuts = source.cuts
        start = source.log_start_offset
        if not copy.size_in_bytes or copy.log_end_offset < start:
            self._begin()
        else:
            copy.advance_log_start_offset(start)

    def next_piece(self) -> LogRead:
        """The next batches that are missing, to be released by the reader; :meth:`follow` comes first."""
        # The first batch may begin before the log start offset, and so does an empty copy.
        offset = max(self.copy.log_end_offset, self.source.log_start_offset)
        return self.source.read(offset, PIECE_BYTES)

    def take(self, piece: bytes) -> None:
        """Appends the bytes of :meth:`next_piece`.

        Raises:
            CorruptRecords: the source is damaged there.
            DiskFull: no space where the copy is.
        """
        self.copy.append_as_follower(memoryview(piece))

    def _begin(self) -> None:
        """An empty copy begins with the batch that holds the log start offset."""
        start = self.source.log_start_offset
        read = self.source.read(start, 1)
        if read.slice is not None:
            read.slice.release()
        self.copy.truncate_fully_and_start_at(min(start, read.first_offset), start)

    def _drop_what_differs(self) -> None:
        """Cuts the copy where its leader epochs part from the source's (KIP-101)."""
        source, copy = self.source, self.copy
        while copy.latest_epoch >= 0:
            epoch = copy.latest_epoch
            there = source.end_offset_for_epoch(epoch)
            if there == UNKNOWN_EPOCH_END:
                break
            end = min(there.end_offset, copy.log_end_offset)
            if there.epoch < epoch:
                here = copy.end_offset_for_epoch(there.epoch)
                end = min(end, here.end_offset)
            copy.truncate_to(max(end, copy.log_start_offset))
            if there.epoch == epoch or end <= copy.log_start_offset:
                return
        self._begin()


def is_copy_of(log: Log, other: Log) -> bool:
    """Whether ``other`` has everything that ``log`` has up to its end, as far as the last batch tells."""
    if log.size_in_bytes == 0:
        return True
    if other.log_end_offset < log.log_end_offset:
        return False
    mine = _last_batch(log, log)
    return mine is not None and mine == _last_batch(other, log)


def _last_batch(log: Log, ending: Log) -> BatchHeader | None:
    """The batch of ``log`` that holds the last offset of ``ending``."""
    offset = ending.log_end_offset - 1
    if offset < log.log_start_offset:
        return None
    read = log.read(offset, 1)
    if read.slice is None:
        return None
    try:
        return read_batch_header(read.slice.read_at(0, BATCH_HEADER_BYTES))
    finally:
        read.slice.release()
