"""One partition's log: the only writer of its files.

Reading order: :meth:`Log.append_as_leader`, :meth:`Log.read`, :meth:`Log.roll`, :meth:`Log.truncate_to`.
Opening one is in :mod:`pybroker.storage.loader`. Source: ``UnifiedLog`` and ``LocalLog`` of Kafka 3.9.
"""

from collections.abc import Callable
from typing import NamedTuple

from pybroker.model.ids import LeaderEpoch, Offset, ProducerEpoch, ProducerId
from pybroker.records.control import read_end_transaction_marker
from pybroker.records.header import CONTROL_FLAG, TRANSACTIONAL_FLAG, BatchHeader
from pybroker.records.layout import BATCH_HEADER, LOG_OVERHEAD_BYTES, struct_of
from pybroker.records.policy import Origin
from pybroker.records.validation import ValidatedBatch
from pybroker.storage.directory import DirectoryContent
from pybroker.storage.errors import (
    OffsetOutOfRange,
)
from pybroker.storage.incoming import split_batches
from pybroker.storage.leader_epochs import EpochEndOffset
from pybroker.storage.log_files import LogFiles
from pybroker.storage.lookup import TimestampOffset
from pybroker.storage.producer_state import CompletedTransaction, replay_batch
from pybroker.storage.recovery import load_producers
from pybroker.storage.retention import DeletionReason, RetentionPolicy, SegmentFacts, deletable_segments
from pybroker.storage.segment import Segment
from pybroker.storage.segments import LogRead
from pybroker.storage.transaction_index import AbortedTransaction

_patch_offset_length_epoch: Callable[..., None] = struct_of(BATCH_HEADER, last="leader_epoch").pack_into
_new = tuple.__new__


class AppendInfo(NamedTuple):
    """Where records went. For a duplicate: where they are since the first time."""

    first_offset: Offset
    last_offset: Offset
    log_append_time_ms: int
    """-1 unless the topic has LogAppendTime."""
    log_start_offset: Offset
    duplicate: bool = False


class Log(LogFiles):
    """A partition's log. Every method may raise :class:`LogDirFailed`, after which only reads may still
    work."""

    # -- append

    def append_as_leader(
        self,
        batch: ValidatedBatch,
        leader_epoch: LeaderEpoch,
        origin: Origin = Origin.CLIENT,
        guard: object | None = None,
    ) -> AppendInfo:
        """Appends one batch: checks its producer, then stamps base offset and epoch into the buffer, then
        writes.

        Args:
            guard: what :meth:`ProducerState.start_verification` gave before the transaction was verified.

        Raises:
            OutOfOrderSequence, InvalidProducerEpoch, InvalidTxnState, TransactionCoordinatorFenced: refused.
            RecordsTooLarge: larger than a segment.
            DiskFull: no space; nothing was appended.
            LogDirFailed: the disk failed; nothing was appended.
        """
        header, buffer = batch.header, batch.buffer
        first = self.log_end_offset
        if header.producer_id >= 0:
            if header.attributes & CONTROL_FLAG:
                self._check_marker(header, buffer, first)
            else:
                duplicate = self.producers.check(header, origin, first)
                if duplicate is not None:
                    return AppendInfo(
                        duplicate.first_offset,
                        duplicate.last_offset,
                        duplicate.timestamp,
                        self.log_start_offset,
                        True,
                    )
                if header.attributes & TRANSACTIONAL_FLAG and self._context.transaction_verification:
                    self.producers.check_verified(header, origin, guard)
        last = first + header.last_offset_delta
        length = header.batch_length
        size = length + LOG_OVERHEAD_BYTES
        segment = self._segment_for(size, first, last, header.max_timestamp)
        _patch_offset_length_epoch(buffer, 0, first, length, leader_epoch)
        if leader_epoch != self._epochs.latest:
            self._epochs.assign(leader_epoch, first)
        try:
            segment.append(buffer, size, last, header.max_timestamp)
        except OSError as error:
            self._append_failed(error)
        self.log_end_offset = end = last + 1
        if header.producer_id >= 0:
            self._note_producer(segment, header, buffer, first, last)
        self.producers.end_offset = end
        return _new(AppendInfo, (first, last, batch.log_append_time_ms, self.log_start_offset, False))

    def start_verification(
        self, producer_id: ProducerId, producer_epoch: ProducerEpoch, sequence: int
    ) -> object | None:
        """See :meth:`ProducerState.start_verification`."""
        return self.producers.start_verification(
            producer_id, producer_epoch, sequence, self._context.now_ms()
        )

    def check_bumped_marker(self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> None:
        """See :meth:`ProducerState.check_bumped_marker`."""
        self.producers.check_bumped_marker(producer_id, producer_epoch, self.log_end_offset)

    def _check_marker(self, header: BatchHeader, batch: memoryview, first: Offset) -> None:
        marker = read_end_transaction_marker(batch)
        if marker is not None:
            self.producers.check_marker(header, marker, first)

    def _note_producer(
        self, segment: Segment, header: BatchHeader, batch: memoryview, first: Offset, last: Offset
    ) -> None:
        if not header.attributes & CONTROL_FLAG:
            self.producers.apply(header, first, last)
            return
        marker = read_end_transaction_marker(batch)
        if marker is not None:
            completed = self.producers.apply_marker(header, marker, first)
            if completed is not None:
                self._complete(segment, completed)

    def _complete(self, segment: Segment, completed: CompletedTransaction) -> None:
        if completed.aborted:
            stable = self.producers.last_stable_after(completed)
            entry = AbortedTransaction(
                completed.producer_id, completed.first_offset, completed.last_offset, stable
            )
            try:
                segment.aborted.append(entry)
                self._segments.note_aborted()
            except OSError as error:
                self._fail(error)
        self.producers.complete(completed)

    def append_as_follower(self, records: memoryview) -> AppendInfo | None:
        """Appends batches with the offsets and epochs their leader gave them; a cut last batch is left out.

        Returns None when there is no whole batch.

        Raises:
            UnexpectedAppendOffset: they begin before the log end offset.
            CorruptRecords: a CRC, a size or the order of offsets is wrong; nothing was appended.
            DiskFull: no space; at most a first part was appended (the log end offset tells).
            LogDirFailed: the disk failed.
        """
        batches = split_batches(records, self.log_end_offset)
        if not batches:
            return None
        total = sum(len(batch) for _header, batch in batches)
        if self._would_roll(total, [header for header, _batch in batches]):
            for header, batch in batches:
                self._append_run(batch, [(header, batch)])
        else:
            self._append_run(records[:total], batches)
        return AppendInfo(batches[0][0].base_offset, self.log_end_offset - 1, -1, self.log_start_offset)

    def _append_run(self, data: memoryview, batches: list[tuple[BatchHeader, memoryview]]) -> None:
        """Appends batches that lie one after the other in ``data``, to one segment."""
        first, last = batches[0][0], batches[-1][0]
        segment = self._segment_for(
            len(data), first.base_offset, last.last_offset, first.max_timestamp, limited=False
        )
        try:
            segment.append_run(data, [header for header, _batch in batches])
        except OSError as error:
            self._append_failed(error)
        self.log_end_offset = last.next_offset
        for header, batch in batches:
            if header.leader_epoch >= 0 and header.leader_epoch != self._epochs.latest:
                self._epochs.assign(header.leader_epoch, header.base_offset)
            if header.producer_id >= 0:
                completed = replay_batch(self.producers, header, batch)
                if completed is not None:
                    self._complete(segment, completed)
        self.producers.end_offset = self.log_end_offset

    def assign_epoch_start(self, leader_epoch: LeaderEpoch, start_offset: Offset) -> None:
        """Notes that a leader epoch begins here, before its first record (on becoming leader)."""
        self._epochs.assign(leader_epoch, start_offset)

    # -- reading

    def read(
        self, offset: Offset, max_bytes: int, *, max_offset: Offset | None = None, min_one_batch: bool = True
    ) -> LogRead:
        """Whole batches of one segment, from the one that holds ``offset``, up to ``max_offset`` (exclusive).

        Args:
            max_bytes: bound on the bytes, exceeded only by a single first batch with ``min_one_batch``.
            max_offset: the high watermark or last stable offset; None reads to the end.

        Raises:
            OffsetOutOfRange: before the log start or beyond the log end.
        """
        end = self.log_end_offset
        if offset < self.log_start_offset or offset > end:
            raise OffsetOutOfRange(offset, self.log_start_offset, end)
        limit = end if max_offset is None or max_offset > end else max_offset
        if offset >= limit:
            return LogRead(None, offset)
        try:
            return self._segments.read(offset, max_bytes, limit, end, min_one_batch)
        except OSError as error:
            self._fail(error)

    def find_offset_by_timestamp(self, timestamp: int) -> TimestampOffset | None:
        """The first record whose timestamp (ms) is at least that; None when there is none."""
        try:
            return self._segments.find_timestamp(timestamp, self.log_start_offset)
        except OSError as error:
            self._fail(error)

    def max_timestamp_offset(self) -> TimestampOffset | None:
        """The first record that has the largest timestamp; None in an empty log."""
        try:
            return self._segments.largest_timestamp()
        except OSError as error:
            self._fail(error)

    def segment_starts_before(self, timestamp: int, max_count: int) -> list[Offset]:
        """Where segments that were last written at or before a time begin, newest first, as ListOffsets
        version 0 asks (``UnifiedLog.legacyFetchOffsetsBefore``). The log end is the newest of all.

        ``timestamp`` is in ms; -1 is the latest, -2 the earliest.
        """
        try:
            starts = [
                (max(segment.base_offset, self.log_start_offset), segment.modified_ms())
                for segment in self._segments
            ]
        except OSError as error:
            self._fail(error)
        if self._segments.active.size > 0:
            starts.append((self.log_end_offset, self._context.now_ms()))
        match timestamp:
            case -1:
                count = len(starts)
            case -2:
                count = 1
            case _:
                written = [number for number, (_, ms) in enumerate(starts, 1) if ms <= timestamp]
                count = max(written, default=0)
        return sorted((offset for offset, _ in starts[:count]), reverse=True)[: max(0, max_count)]

    def end_offset_for_epoch(self, leader_epoch: LeaderEpoch) -> EpochEndOffset:
        """Where that epoch ended here (KIP-279); (-1, -1) when unknown."""
        return self._epochs.end_offset_for(leader_epoch, self.log_end_offset)

    def epoch_for_offset(self, offset: Offset) -> LeaderEpoch:
        """The leader epoch that wrote ``offset``; -1 when unknown."""
        return self._epochs.epoch_for(offset)

    def aborted_transactions(self, start: Offset, end: Offset) -> list[AbortedTransaction]:
        """Aborted transactions that a reader of [start, end) must leave out."""
        try:
            return self._segments.aborted(start, end)
        except OSError as error:
            self._fail(error)

    # -- shortening

    def truncate_to(self, offset: Offset) -> bool:
        """Drops everything at and beyond ``offset``; False when there was nothing."""
        if offset >= self.log_end_offset:
            self._epochs.truncate_from_end(self.log_end_offset)
            return False
        if self._segments.first.base_offset > offset:
            self.truncate_fully_and_start_at(offset)
            return True
        now = self._context.now_ms()
        try:
            # Newest first, and durably before what comes earlier is cut: no crash may leave a hole.
            beyond = self._segments.take_beyond(offset)
            if beyond:
                self._discard(beyond[::-1])
                self._context.files.fsync_dir(self._place.path)
            offset = self._segments.active.truncate_to(offset, now)
            self._epochs.truncate_from_end(offset)
            self._move_end(offset)
            self._rebuild_producers()
        except OSError as error:
            self._fail(error)
        self.log_start_offset = min(self.log_start_offset, offset)
        return True

    def truncate_fully_and_start_at(self, offset: Offset, log_start_offset: Offset | None = None) -> None:
        """Drops everything; the log is empty and begins at ``offset``."""
        old = list(self._segments)
        try:
            self._discard(old[::-1])
            self._segments.replace_all([self._new_segment(offset)])
            for snapshot in self._snapshots:
                self._context.files.unlink_if_exists(self._snapshot_path(snapshot))
        except OSError as error:
            self._fail(error)
        self._snapshots.clear()
        self._epochs.clear()
        self.producers.clear(offset)
        self._move_end(offset)
        self.log_start_offset = offset if log_start_offset is None else log_start_offset

    def _move_end(self, offset: Offset) -> None:
        self._cuts += 1
        self.log_end_offset = offset
        is_below_checkpoints = offset < max(self.recovery_point, self.cleaned_offset or 0)
        self.recovery_point = min(self.recovery_point, offset)
        if self.cleaned_offset is not None:
            self.cleaned_offset = min(self.cleaned_offset, offset)
        self._set_config(self._config)
        if is_below_checkpoints:
            self._context.on_cut(self)

    def _rebuild_producers(self) -> None:
        if not self.producers.active():
            # Cutting the log cannot bring back a producer that an already longer log had not.
            self.producers.clear(self.log_end_offset)
        content = DirectoryContent(snapshots=self._snapshots)
        load_producers(
            self._context,
            self._place.path,
            content,
            self.producers,
            list(self._segments),
            self.log_start_offset,
            self.log_end_offset,
            self._context.now_ms() - self._context.producer_id_expiration_ms,
        )

    def advance_log_start_offset(self, offset: Offset) -> bool:
        """Records before ``offset`` count as deleted; their segments go with the next retention run.

        The caller has checked that it is not beyond the high watermark. False when it does not move forward.
        """
        if offset <= self.log_start_offset:
            return False
        if offset > self.log_end_offset:
            raise OffsetOutOfRange(offset, self.log_start_offset, self.log_end_offset)
        self.log_start_offset = offset
        self._epochs.truncate_from_start(offset)
        self.producers.forget_replicated(offset)
        return True

    def segment_facts(self) -> list[SegmentFacts]:
        """What retention decides on."""
        segments = self._segments
        return [
            SegmentFacts(
                segment.base_offset,
                segments.end_of(number, self.log_end_offset),
                segment.size,
                segment.largest_timestamp_ms(),
            )
            for number, segment in enumerate(segments)
        ]

    def apply_retention(self, high_watermark: Offset) -> tuple[int, DeletionReason | None]:
        """Deletes the segments that the topic's retention and the log start offset give up."""
        policy = RetentionPolicy(self._config.delete, self._config.retention_ms, self._config.retention_bytes)
        try:
            count, reason = deletable_segments(
                self.segment_facts(),
                policy,
                log_start_offset=self.log_start_offset,
                high_watermark=high_watermark,
                now_ms=self._context.now_ms(),
            )
            if count:
                self._delete_first(count)
        except OSError as error:
            self._fail(error)
        return count, reason

    def _delete_first(self, count: int) -> None:
        if count == len(self._segments):
            self.roll()
        self.advance_log_start_offset(self._segments.end_of(count - 1, self.log_end_offset))
        gone = self._segments.take_first(count)
        self._discard(gone)
        self._context.trash_files(
            [self._snapshot_path(offset) for offset in self._forget_snapshots(gone)],
            self._config.file_delete_delay_ms,
        )

    def _forget_snapshots(self, segments: list[Segment]) -> list[Offset]:
        gone = [segment.base_offset for segment in segments if segment.base_offset in self._snapshots]
        self._snapshots.difference_update(gone)
        return gone

    def _discard(self, segments: list[Segment]) -> None:
        for segment in segments:
            self._context.trash_renamed(segment.rename_to_deleted(), self._config.file_delete_delay_ms)

    def remove_expired_producers(self) -> None:
        """Forgets producers that have not written for ``producer.id.expiration.ms``."""
        self.producers.remove_expired(self._context.now_ms() - self._context.producer_id_expiration_ms)
