"""The pass over one segment that a recovery makes: every batch is checked, indexed, and tells of its producer
and leader epoch.

A log may have millions of small batches, so there is one loop for the batches that nearly all are, without
an object and with one check for each. What it does not take it leaves to the general way, which decides.
"""

import logging

from crc32c import crc32c

from pybroker.model.ids import ProducerId
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import CONTROL_FLAG, CURRENT_MAGIC, NO_TIMESTAMP, TRANSACTIONAL_FLAG, BatchHeader
from pybroker.records.layout import (
    ATTRIBUTES_POSITION,
    BATCH_HEADER,
    BATCH_HEADER_BYTES,
    LOG_OVERHEAD_BYTES,
    MAGIC_POSITION,
    struct_of,
)
from pybroker.storage.batch_scan import batch_is_valid, header_at
from pybroker.storage.bulk_read import BulkReader
from pybroker.storage.errors import CorruptRecords
from pybroker.storage.files import Files
from pybroker.storage.leader_epochs import LeaderEpochs
from pybroker.storage.producer_state import BATCHES_REMEMBERED, ProducerState, replay_batch
from pybroker.storage.segment import MAX_RELATIVE_OFFSET, Segment
from pybroker.storage.transaction_index import AbortedTransaction

logger = logging.getLogger(__name__)

_unpack = struct_of(BATCH_HEADER).unpack_from
_new = tuple.__new__
_LEAST_LENGTH = BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES


class SegmentCheck:
    """One pass. ``valid_bytes`` is where the last valid batch ends, ``next_offset`` the offset after it."""

    __slots__ = ("_epochs", "_files", "_segment", "_state", "next_offset", "valid_bytes")

    def __init__(self, files: Files, segment: Segment, state: ProducerState, epochs: LeaderEpochs) -> None:
        """The indexes of the segment must be empty; ``state`` and ``epochs`` say what was before it."""
        self._files = files
        self._segment = segment
        self._state = state
        self._epochs = epochs
        self.valid_bytes = 0
        self.next_offset = segment.base_offset

    def run(self) -> None:
        """Checks until the end of the segment, or until something is not valid."""
        reader = BulkReader(self._files, self._segment)
        while chunk := reader.read():
            used = size = 0
            while True:
                used = self._check_plain(chunk, used, reader.position)
                try:
                    size = self._check_one(chunk, used, reader.position)
                except CorruptRecords as error:
                    logger.info("%s: %s", self._segment.path(), error)
                    return
                if size == 0 or used + size > len(chunk):
                    break
                used += size
            if not reader.advance(used, size):
                return

    def _check_plain(self, chunk: memoryview, start: int, chunk_position: int) -> int:
        """Takes valid batches of magic 2 from ``start`` on, up to the first that is anything but plain: of a
        new leader epoch, with a marker in it, not wholly there, or damaged. Returns where that is."""
        end = len(chunk)
        last_header = end - BATCH_HEADER_BYTES
        if start > last_header or chunk[start + MAGIC_POSITION] != CURRENT_MAGIC:
            return start
        segment, interval, apply = self._segment, self._segment.index_interval, self._apply
        known_epoch, largest_offset = self._epochs.latest, segment.base_offset + MAX_RELATIVE_OFFSET
        next_offset = self.next_offset
        at = noted = start
        budget = interval - segment.bytes_since_index
        run_timestamp = run_offset = NO_TIMESTAMP
        waiting: dict[ProducerId, list[tuple[int, ...]]] = {}
        while at <= last_header:
            fields = _unpack(chunk, at)
            base, length, epoch, magic, crc, attributes, delta, _, timestamp, producer_id, _, _, _ = fields
            following = at + LOG_OVERHEAD_BYTES + length
            last = base + delta
            if (
                magic != CURRENT_MAGIC
                or following > end
                or length < _LEAST_LENGTH
                or delta < 0
                or base < next_offset
                or last > largest_offset
                or epoch > known_epoch
                or crc32c(chunk[at + ATTRIBUTES_POSITION : following]) != crc
            ):
                break
            if producer_id >= 0:
                if attributes & CONTROL_FLAG:
                    break
                mine = waiting.get(producer_id)
                if mine is None:
                    mine = waiting[producer_id] = []
                mine.append(fields)
                if attributes & TRANSACTIONAL_FLAG:
                    apply(mine)
            if at - noted > budget:
                if at > noted:
                    segment.note_run(at - noted, run_offset, run_timestamp)
                segment.note_batch(chunk_position + at, following - at, last, timestamp)
                noted, budget = following, interval - (following - at)
            elif timestamp > run_timestamp:
                run_timestamp, run_offset = timestamp, last
            at = following
            next_offset = last + 1
        segment.note_run(at - noted, run_offset, run_timestamp)
        for mine in waiting.values():
            apply(mine)
        self.valid_bytes = chunk_position + at
        self.next_offset = next_offset
        return at

    def _apply(self, batches: list[tuple[int, ...]]) -> None:
        """What the state keeps of one producer's batches in a row, of which only the last may begin a
        transaction: the others before the last few leave no trace. Empties the list."""
        for fields in batches[-BATCHES_REMEMBERED:]:
            header = _new(BatchHeader, fields)
            self._state.apply(header, header.base_offset, header.last_offset)
        batches.clear()

    def _check_one(self, chunk: memoryview, at: int, chunk_position: int) -> int:
        """Takes one batch or old message, whatever it is; returns its size. One that is not wholly in the
        chunk is not touched; 0 when even its header is not.

        Raises:
            CorruptRecords: it is damaged, or cannot stand here.
        """
        header = header_at(chunk, at)
        if header is None:
            return 0
        size, last_offset = header.size_in_bytes, header.last_offset
        if at + size > len(chunk):
            return size
        batch = chunk[at : at + size]
        if (
            header.base_offset < self.next_offset
            or last_offset - self._segment.base_offset > MAX_RELATIVE_OFFSET
        ):
            raise CorruptRecords(f"offset {header.base_offset} cannot follow {self.next_offset - 1}")
        if not batch_is_valid(header, batch):
            raise CorruptRecords(f"the batch at offset {header.base_offset} has not the CRC that it claims")
        if header.leader_epoch > self._epochs.latest:
            self._epochs.assign(header.leader_epoch, header.base_offset)
        if header.producer_id >= 0:
            self._replay(header, batch)
        self._segment.note_batch(chunk_position + at, size, last_offset, header.max_timestamp)
        self.valid_bytes = chunk_position + at + size
        self.next_offset = last_offset + 1
        return size

    def _replay(self, header: BatchHeader, batch: memoryview) -> None:
        try:
            completed = replay_batch(self._state, header, batch)
        except InvalidRecords as error:
            raise CorruptRecords(f"control batch at {header.base_offset}: {error}") from error
        if completed is None:
            return
        if completed.aborted:
            stable = self._state.last_stable_after(completed)
            self._segment.aborted.append(
                AbortedTransaction(
                    completed.producer_id, completed.first_offset, completed.last_offset, stable
                )
            )
        self._state.complete(completed)
