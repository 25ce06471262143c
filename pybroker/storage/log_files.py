"""The files of one partition's log: rolling, flushing, closing, renaming, and a disk that fails."""

import os
from collections.abc import Sequence
from typing import NoReturn

from pybroker.model.ids import LeaderEpoch, Offset, TopicId, TopicPartition
from pybroker.model.values import Value
from pybroker.records.header import BatchHeader
from pybroker.storage import checkpoints, names
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import DiskFull, LogDirFailed, RecordsTooLarge
from pybroker.storage.files import NO_SPACE
from pybroker.storage.flush import FlushJob
from pybroker.storage.handles import join
from pybroker.storage.leader_epochs import LeaderEpochs
from pybroker.storage.log_config import LogConfig
from pybroker.storage.producer_snapshot import encode_snapshot
from pybroker.storage.producer_state import ProducerState
from pybroker.storage.segment import MAX_RELATIVE_OFFSET, LogPlace, Segment
from pybroker.storage.segments import Segments

_NEVER = 1 << 63


class LoadedState(Value):
    """What opening a directory found out."""

    segments: Segments
    log_start_offset: Offset
    recovery_point: Offset
    log_end_offset: Offset
    producers: ProducerState
    epochs: LeaderEpochs
    snapshots: set[Offset]
    topic_id: TopicId | None


class LogFiles:
    """What a log is on disk. Its only user is :class:`pybroker.storage.log.Log`, which extends it."""

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
        self.cleaned_offset: Offset | None = None
        """Everything before it was compacted once; None when nothing was."""
        self.last_flush_ms = context.now_ms()
        self._place = place
        self._context = context
        self._segments = loaded.segments
        self._epochs = loaded.epochs
        self._snapshots = loaded.snapshots
        self._cuts = 0
        self._topic_id_is_durable = True
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
                # At the log end even before a gap: a segment that ends early has then lost its tail.
                self.roll(first if last - self.log_end_offset > MAX_RELATIVE_OFFSET else None)
                segment = self._segments.active
            self._time_the_roll(segment, max_timestamp)
        return segment

    def _would_roll(self, size: int, headers: Sequence[BatchHeader]) -> bool:
        """Whether not all of these batches, of ``size`` bytes together, belong into the active segment."""
        segment = self._segments.active
        return (
            segment.size + size > self._config.segment_bytes
            or max(header.max_timestamp for header in headers) > self._roll_after_timestamp
            or headers[-1].last_offset - segment.base_offset > MAX_RELATIVE_OFFSET
            or segment.index_is_full
        )

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
        self._context.index_cache.sealed(sealed)
        self._context.sealed.add(self.topic_partition)
        self._set_config(self._config)

    def _new_segment(self, base_offset: Offset) -> Segment:
        segment = self._make_segment(base_offset)
        segment.create(self._context.now_ms())
        return segment

    def _make_segment(self, base_offset: Offset) -> Segment:
        return Segment(
            self._place,
            base_offset,
            self._context,
            index_interval=self._config.index_interval_bytes,
            index_bytes=self._config.segment_index_bytes,
        )

    def _take_snapshot(self) -> str | None:
        """The path of a new snapshot, which is not durable yet; None when there is one or none is needed."""
        offset = self.producers.end_offset
        if offset in self._snapshots or (not self._snapshots and offset == self.log_start_offset):
            return None
        path = self._snapshot_path(offset)
        self._context.files.write_bytes(path, encode_snapshot(self.producers.active().values()))
        self._snapshots.add(offset)
        return path

    def _snapshot_path(self, offset: Offset) -> str:
        return join(self._place.path, names.segment_file(offset, names.SNAPSHOT))

    # -- compaction

    @property
    def cuts(self) -> int:
        """How often the log was truncated since it was opened."""
        return self._cuts

    def replace_segments(self, old: Sequence[Segment], size: int, *, has_txn_index: bool) -> list[str]:
        """Swaps the durable ``.cleaned`` files at the first base offset in for consecutive sealed segments.

        A crash at any moment leaves the old segments or the new one. Readers keep what they hold. The
        directory is to be synced before the files that are returned, renamed already, are removed.

        Raises:
            ValueError: these are not, or no longer, segments of this log.
            LogDirFailed: the disk failed.
        """
        new = self._make_segment(old[0].base_offset)
        new.size, new.aborted.exists = size, has_txn_index
        self._segments.replace(old, new)
        files, replaced = self._context.files, []
        try:
            new.rename_files(names.CLEANED, names.SWAP)
            for segment in old:
                replaced += segment.rename_to_deleted()
            new.rename_files(names.SWAP, "")
            for segment in old[1:]:
                if segment.base_offset in self._snapshots:
                    path = self._snapshot_path(segment.base_offset)
                    files.rename(path, path + names.DELETED)
                    self._snapshots.discard(segment.base_offset)
                    replaced.append(path + names.DELETED)
        except OSError as error:
            self._fail(error)
        return replaced

    # -- durability

    @property
    def unflushed_messages(self) -> int:
        """Offsets beyond the recovery point."""
        return self.log_end_offset - self.recovery_point

    @property
    def flush_is_due(self) -> bool:
        """Whether ``flush.messages`` have been appended since the last flush; to be asked after each
        append."""
        return self.unflushed_messages >= self._config.flush_messages

    def prepare_flush(self, up_to: Offset | None = None) -> FlushJob | None:
        """What must be synced so that everything before ``up_to`` (default: the end) is durable; None if
        nothing.

        Writes pending index entries now. Run the job, in a thread if you like, then :meth:`flush_done`.
        """
        offset = self.log_end_offset if up_to is None else up_to
        if offset <= self.recovery_point and not self._epochs.dirty and self._topic_id_is_durable:
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
        if not self._topic_id_is_durable:
            paths.append(join(self._place.path, names.PARTITION_METADATA))
            self._topic_id_is_durable = True
        epochs = self._epochs.entries if self._epochs.dirty else None
        self._epochs.dirty = False
        return FlushJob(self._context.files, self._place.path, paths, epochs, offset, self._cuts)

    def flush_done(self, job: FlushJob) -> None:
        """The job has run: moves the recovery point, unless the log was cut meanwhile."""
        if job.cuts == self._cuts:
            self.recovery_point = max(self.recovery_point, job.offset)
        self.last_flush_ms = self._context.now_ms()

    def flush_failed(self, error: OSError) -> NoReturn:
        """The job has failed: nothing is known to be durable.

        Raises:
            LogDirFailed: always.
        """
        self._fail(error)

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
        """Flushes, leaves a producer snapshot at the end, and lets all descriptors go; blocking."""
        job = self.prepare_close()
        if job is not None:
            try:
                job.run()
            except OSError as error:
                self._fail(error)
            self.flush_done(job)
        self.close_handles()

    def prepare_close(self) -> FlushJob | None:
        """Writes what is pending and a producer snapshot at the end; what is left to sync, if anything.

        Run the job, in a thread if you like, then :meth:`flush_done` and :meth:`close_handles`.
        """
        try:
            self._segments.active.write_indexes(final=True)
            snapshot = self._take_snapshot()
        except OSError as error:
            self._fail(error)
        job = self.prepare_flush()
        if job is None and snapshot is not None:
            end = self.log_end_offset
            job = FlushJob(self._context.files, self._place.path, [snapshot], None, end, self._cuts)
        return job

    def close_handles(self) -> None:
        """Lets all descriptors go without writing anything (a failed disk, a deleted partition)."""
        for segment in self._segments:
            segment.close_handle()

    def move_directory(self, path: str, *, sync: bool = False) -> None:
        """Renames the partition's directory within its log directory; open slices stay readable.

        Args:
            sync: makes the new name durable, blocking.
        """
        try:
            self._context.files.rename(self._place.path, path)
            self._place.path = path
            if sync:
                self._context.files.fsync_dir(self.log_dir)
        except OSError as error:
            self._fail(error)

    def assign_topic_id(self, topic_id: TopicId) -> None:
        """Writes ``partition.metadata``, durable with the next flush. A log keeps the id it has."""
        if self.topic_id == topic_id:
            return
        if self.topic_id is not None:
            raise ValueError(f"{self.topic_partition} has another topic id already")
        try:
            checkpoints.write_partition_metadata(self._context.files, self._place.path, topic_id)
        except OSError as error:
            self._fail(error)
        self.topic_id = topic_id
        self._topic_id_is_durable = False

    # -- failure

    def _append_failed(self, error: OSError) -> NoReturn:
        if error.errno in NO_SPACE:
            raise DiskFull(f"no space left in {self.log_dir} for {self.topic_partition}") from error
        self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        self._context.on_failure(self.log_dir, error)
        raise LogDirFailed(self.log_dir, error) from error

    def __repr__(self) -> str:
        return f"Log({self.topic_partition}, {self.log_start_offset}..{self.log_end_offset})"
