"""One partition's log: the only writer of its files.

Reading order: :meth:`Log.append_as_leader`, :meth:`Log.read`, :meth:`Log.roll`, :meth:`Log.truncate_to`.
Opening one is in :mod:`pybroker.storage.loader`. Source: ``UnifiedLog`` and ``LocalLog`` of Kafka 3.9.
"""

import errno
import os
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from attrs import frozen

from pybroker.model.ids import LeaderEpoch, Offset, TopicId, TopicPartition
from pybroker.records.control import read_end_transaction_marker
from pybroker.records.header import CONTROL_FLAG, BatchHeader
from pybroker.records.layout import BATCH_HEADER, LOG_OVERHEAD_BYTES, struct_of
from pybroker.records.policy import Origin
from pybroker.records.validation import ValidatedBatch
from pybroker.storage import checkpoints, names
from pybroker.storage.batch_scan import batch_is_valid, header_at
from pybroker.storage.context import StorageContext
from pybroker.storage.directory import DirectoryContent
from pybroker.storage.errors import (
    CorruptRecords,
    DiskFull,
    LogDirFailed,
    OffsetOutOfRange,
    RecordsTooLarge,
    UnexpectedAppendOffset,
)
from pybroker.storage.flush import FlushJob
from pybroker.storage.handles import join
from pybroker.storage.leader_epochs import EpochEndOffset, LeaderEpochs
from pybroker.storage.log_config import LogConfig
from pybroker.storage.lookup import TimestampOffset
from pybroker.storage.producer_snapshot import encode_snapshot
from pybroker.storage.producer_state import CompletedTransaction, ProducerState, replay_batch
from pybroker.storage.recovery import load_producers
from pybroker.storage.retention import DeletionReason, RetentionPolicy, SegmentFacts, deletable_segments
from pybroker.storage.segment import MAX_RELATIVE_OFFSET, LogPlace, Segment
from pybroker.storage.segments import LogRead, Segments
from pybroker.storage.transaction_index import AbortedTransaction

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_patch_offset_length_epoch: Callable[..., None] = struct_of(BATCH_HEADER, last="leader_epoch").pack_into
_NEVER = 1 << 63


class AppendInfo(NamedTuple):
    """Where records went. For a duplicate: where they are since the first time."""

    first_offset: Offset
    last_offset: Offset
    log_append_time_ms: int
    """-1 unless the topic has LogAppendTime."""
    log_start_offset: Offset
    duplicate: bool = False


@frozen
class LoadedState:
    """What opening a directory found out."""

    segments: Segments
    log_start_offset: Offset
    recovery_point: Offset
    log_end_offset: Offset
    producers: ProducerState
    epochs: LeaderEpochs
    snapshots: set[Offset]
    topic_id: TopicId | None


class Log:
    """A partition's log. Every method may raise :class:`LogDirFailed`, after which only reads may still
    work."""

    def __init__(
        self,
        place: LogPlace,
        topic_partition: TopicPartition,
        config: LogConfig,
        context: StorageContext,
        loaded: LoadedState,
    ) -> None:
        self.topic_partition = topic_partition
        self.topic_id = loaded.topic_id
        self.log_start_offset = loaded.log_start_offset
        self.log_end_offset = loaded.log_end_offset
        self.recovery_point = loaded.recovery_point
        """Everything before it is durable."""
        self.producers = loaded.producers
        self.last_flush_ms = context.now_ms()
        self._place = place
        self._context = context
        self._segments = loaded.segments
        self._epochs = loaded.epochs
        self._snapshots = loaded.snapshots
        self._set_config(config)

    # -- facts

    @property
    def directory(self) -> str:
        """The partition's directory."""
        return self._place.path

    @property
    def log_dir(self) -> str:
        """The log directory that the partition's directory is in."""
        return os.path.dirname(self._place.path)

    @property
    def config(self) -> LogConfig:
        """The topic's present configuration; :meth:`update_config` changes it."""
        return self._config

    @property
    def latest_epoch(self) -> LeaderEpoch:
        """The leader epoch of the last batch, or the last one assigned; -1 when there is none."""
        return self._epochs.latest

    @property
    def size_in_bytes(self) -> int:
        """Bytes of all ``.log`` files."""
        return self._segments.size_in_bytes

    @property
    def segments(self) -> Segments:
        """The segments, oldest first. Read only."""
        return self._segments

    @property
    def first_unstable_offset(self) -> Offset | None:
        """Where readers of committed records must stop: None when nothing is undecided.

        A transaction whose marker is not below the high watermark still counts: :meth:`on_high_watermark`.
        """
        first = self.producers.first_unstable_offset
        return None if first is None else max(first, self.log_start_offset)

    def on_high_watermark(self, high_watermark: Offset) -> None:
        """Tells how far the log is replicated. Cheap when no transaction has just ended."""
        self.producers.forget_replicated(high_watermark)

    # -- configuration

    def update_config(self, config: LogConfig) -> None:
        """Obeys a changed topic configuration from now on."""
        self._set_config(config)

    def _set_config(self, config: LogConfig) -> None:
        self._config = config
        jitter = min(config.segment_jitter_ms, config.segment_ms)
        self._jitter_ms = self._context.random.randrange(jitter) if jitter > 0 else 0
        self._roll_after_timestamp = -_NEVER

    # -- append

    def append_as_leader(
        self, batch: ValidatedBatch, leader_epoch: LeaderEpoch, origin: Origin = Origin.CLIENT
    ) -> AppendInfo:
        """Appends one batch: checks its producer, then stamps base offset and epoch into the buffer, then
        writes.

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
        return AppendInfo(first, last, batch.log_append_time_ms, self.log_start_offset)

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
            try:
                segment.append_aborted(
                    AbortedTransaction(
                        completed.producer_id, completed.first_offset, completed.last_offset, stable
                    )
                )
            except OSError as error:
                # The marker is in the log; without its index entry readers would see aborted records.
                self._fail(error)
        self.producers.complete(completed)

    def append_as_follower(self, records: memoryview) -> AppendInfo | None:
        """Appends batches with the offsets and epochs their leader gave them; a cut last batch is left out.

        Returns None when there is no whole batch.

        Raises:
            UnexpectedAppendOffset: they begin before the log end offset.
            CorruptRecords: a CRC, a size or the order of offsets is wrong; nothing was appended.
            DiskFull: no space; only a first part was appended (the log end offset tells).
            LogDirFailed: the disk failed.
        """
        batches = split_batches(records, self.log_end_offset)
        if not batches:
            return None
        first = batches[0][0].base_offset
        for header, batch in batches:
            last = header.base_offset + header.last_offset_delta
            segment = self._segment_for(
                len(batch), header.base_offset, last, header.max_timestamp, limited=False
            )
            if header.leader_epoch >= 0 and header.leader_epoch != self._epochs.latest:
                self._epochs.assign(header.leader_epoch, header.base_offset)
            try:
                segment.append(batch, len(batch), last, header.max_timestamp)
            except OSError as error:
                self._append_failed(error)
            self.log_end_offset = last + 1
            if header.producer_id >= 0:
                completed = replay_batch(self.producers, header, batch)
                if completed is not None:
                    self._complete(segment, completed)
            self.producers.end_offset = last + 1
        return AppendInfo(first, self.log_end_offset - 1, -1, self.log_start_offset)

    def assign_epoch_start(self, leader_epoch: LeaderEpoch, start_offset: Offset) -> None:
        """Notes that a leader epoch begins here, before its first record (on becoming leader)."""
        self._epochs.assign(leader_epoch, start_offset)

    # -- rolling

    def _segment_for(
        self, size: int, first: Offset, last: Offset, max_timestamp: int, *, limited: bool = True
    ) -> Segment:
        """The active segment, after rolling if these records do not belong into the present one."""
        segment = self._segments.active
        config = self._config
        if (
            segment.size + size > config.segment_bytes
            or max_timestamp > self._roll_after_timestamp
            or last - segment.base_offset > MAX_RELATIVE_OFFSET
            or segment.index_is_full
        ):
            if limited and size > config.segment_bytes:
                raise RecordsTooLarge(
                    f"a batch of {size} bytes exceeds segment.bytes ({config.segment_bytes})"
                )
            if self._must_roll(segment, size, last, max_timestamp):
                self.roll(first)
                segment = self._segments.active
            self._time_the_roll(segment, max_timestamp)
        return segment

    def _must_roll(self, segment: Segment, size: int, last: Offset, max_timestamp: int) -> bool:
        if last - segment.base_offset > MAX_RELATIVE_OFFSET or segment.index_is_full:
            return True
        if segment.size == 0:
            return False
        if segment.size + size > self._config.segment_bytes:
            return True
        first_timestamp = segment.first_batch_timestamp()
        if first_timestamp >= 0:
            waited = max_timestamp - first_timestamp
        else:
            waited = self._context.now_ms() - segment.created_ms
        return waited > self._config.segment_ms - self._jitter_ms

    def _time_the_roll(self, segment: Segment, max_timestamp: int) -> None:
        """Sets the timestamp beyond which the question must be asked again."""
        first_timestamp = segment.first_batch_timestamp() if segment.size else max_timestamp
        if first_timestamp >= 0:
            self._roll_after_timestamp = first_timestamp + self._config.segment_ms - self._jitter_ms
        else:
            self._roll_after_timestamp = -_NEVER

    def roll(self, base_offset: Offset | None = None) -> None:
        """Seals the active segment and begins a new one at the log end (or further on); an empty one
        stays."""
        base = self.log_end_offset if base_offset is None else max(base_offset, self.log_end_offset)
        sealed = self._segments.active
        if sealed.size == 0 and sealed.base_offset == base:
            return
        try:
            sealed.write_indexes(final=True)
            self.producers.end_offset = base
            self._take_snapshot()
            segment = self._new_segment(base)
        except OSError as error:
            self._append_failed(error)
        self._segments.add(segment)
        self._set_config(self._config)

    def _new_segment(self, base_offset: Offset) -> Segment:
        segment = Segment(
            self._place,
            base_offset,
            self._context,
            index_interval=self._config.index_interval_bytes,
            index_bytes=self._config.segment_index_bytes,
        )
        segment.create(self._context.now_ms())
        return segment

    def _take_snapshot(self, *, sync: bool = False) -> None:
        offset = self.producers.end_offset
        if offset in self._snapshots or (not self._snapshots and offset == self.log_start_offset):
            return
        data = encode_snapshot(self.producers.active().values())
        self._context.files.write_bytes(self._snapshot_path(offset), data, sync=sync)
        self._snapshots.add(offset)

    def _snapshot_path(self, offset: Offset) -> str:
        return join(self._place.path, names.segment_file(offset, names.SNAPSHOT))

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
            self._discard(self._segments.take_beyond(offset))
            self._segments.active.truncate_to(offset, now)
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
            self._discard(old)
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
        self.recovery_point = min(self.recovery_point, offset)

    def _move_end(self, offset: Offset) -> None:
        self.log_end_offset = offset
        self.recovery_point = min(self.recovery_point, offset)
        self._set_config(self._config)

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

    # -- durability

    @property
    def unflushed_messages(self) -> int:
        """Offsets beyond the recovery point."""
        return self.log_end_offset - self.recovery_point

    @property
    def has_sealed_unflushed(self) -> bool:
        """Whether a sealed segment waits for its flush."""
        return self._segments.active.base_offset > self.recovery_point

    def prepare_flush(self, up_to: Offset | None = None) -> FlushJob | None:
        """What must be synced so that everything before ``up_to`` (default: the end) is durable; None if
        nothing.

        Writes pending index entries now. Run the job, in a thread if you like, then :meth:`flush_done`.
        """
        offset = self.log_end_offset if up_to is None else up_to
        if offset <= self.recovery_point and not self._epochs.dirty:
            return None
        paths: list[str] = []
        try:
            for segment in self._segments.from_offset(self.recovery_point):
                if segment.base_offset >= offset and paths:
                    break
                segment.write_indexes()
                paths += segment.sync_paths()
        except OSError as error:
            self._fail(error)
        paths += [
            self._snapshot_path(snapshot) for snapshot in self._snapshots if snapshot >= self.recovery_point
        ]
        epochs = self._epochs.entries if self._epochs.dirty else None
        self._epochs.dirty = False
        return FlushJob(self._context.files, self._place.path, paths, epochs, offset)

    def flush_done(self, job: FlushJob) -> None:
        """The job has run: moves the recovery point, unless the log was cut meanwhile."""
        self.recovery_point = max(self.recovery_point, min(job.offset, self.log_end_offset))
        self.last_flush_ms = self._context.now_ms()

    def flush(self) -> None:
        """Makes everything durable, blocking."""
        job = self.prepare_flush()
        if job is not None:
            try:
                job.run()
            except OSError as error:
                self._fail(error)
            self.flush_done(job)

    def close(self) -> None:
        """Flushes, leaves a producer snapshot at the end, and lets all descriptors go."""
        try:
            self._segments.active.write_indexes(final=True)
            self._take_snapshot(sync=True)
        except OSError as error:
            self._fail(error)
        self.flush()
        self.close_handles()

    def close_handles(self) -> None:
        """Lets all descriptors go without writing anything (a failed disk, a deleted partition)."""
        for segment in self._segments:
            segment.close_handle()

    def move_directory(self, path: str) -> None:
        """Renames the partition's directory; open slices stay readable."""
        try:
            self._context.files.rename(self._place.path, path)
        except OSError as error:
            self._fail(error)
        self._place.path = path

    def assign_topic_id(self, topic_id: TopicId) -> None:
        """Writes ``partition.metadata``. A log keeps the id it has."""
        if self.topic_id == topic_id:
            return
        if self.topic_id is not None:
            raise ValueError(f"{self.topic_partition} has another topic id already")
        try:
            checkpoints.write_partition_metadata(self._context.files, self._place.path, topic_id)
        except OSError as error:
            self._fail(error)
        self.topic_id = topic_id

    # -- failure

    def _append_failed(self, error: OSError) -> NoReturn:
        if error.errno in _NO_SPACE:
            raise DiskFull(f"no space left in {self.log_dir} for {self.topic_partition}") from error
        self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        self._context.on_failure(self.log_dir, error)
        raise LogDirFailed(self.log_dir, error) from error

    def __repr__(self) -> str:
        return f"Log({self.topic_partition}, {self.log_start_offset}..{self.log_end_offset})"


def split_batches(records: memoryview, log_end_offset: Offset) -> list[tuple[BatchHeader, memoryview]]:
    """The whole batches of a fetched buffer, checked: CRC, order, and that they go on from the log end.

    Raises:
        CorruptRecords, UnexpectedAppendOffset: see :meth:`Log.append_as_follower`.
    """
    batches: list[tuple[BatchHeader, memoryview]] = []
    position, expected = 0, log_end_offset
    while (header := header_at(records, position)) is not None:
        size = LOG_OVERHEAD_BYTES + header.batch_length
        batch = records[position : position + size]
        if len(batch) < size:
            break
        if header.base_offset < expected:
            if not batches:
                raise UnexpectedAppendOffset(header.base_offset, header.last_offset, log_end_offset)
            raise CorruptRecords(f"batch at offset {header.base_offset} follows offset {expected - 1}")
        if not batch_is_valid(header, batch):
            raise CorruptRecords(f"batch at offset {header.base_offset} has a wrong CRC")
        batches.append((header, batch))
        expected = header.base_offset + header.last_offset_delta + 1
        position += size
    return batches
