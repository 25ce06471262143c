"""Bringing a partition's directory into order after an unclean stop.

Files in, files out: when :func:`recover_partition` returns, the directory can be opened as if it had been
closed cleanly, except that nothing was synced: the recovery point stays, and the next flush moves it. It
shares nothing with a running broker, so it may run in a worker process.
"""

import logging
from collections.abc import Callable

from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import Value
from pybroker.storage import checkpoints, names
from pybroker.storage.bulk_read import whole_batches
from pybroker.storage.context import StorageContext
from pybroker.storage.directory import DirectoryContent, read_directory, tidy_directory
from pybroker.storage.errors import CorruptFile
from pybroker.storage.files import Files
from pybroker.storage.handles import join
from pybroker.storage.leader_epochs import LeaderEpochs
from pybroker.storage.log_config import LogConfig
from pybroker.storage.producer_snapshot import decode_snapshot, encode_snapshot
from pybroker.storage.producer_state import ProducerState, replay_batch
from pybroker.storage.segment import LogPlace, Segment
from pybroker.storage.segment_check import SegmentCheck

logger = logging.getLogger(__name__)


class RecoveryReport(Value):
    """What a recovery found. ``truncated_bytes`` were cut because nothing valid could follow."""

    segments_recovered: int
    bytes_checked: int
    truncated_bytes: int
    log_end_offset: Offset


def recover_partition(
    directory: str,
    topic_partition: TopicPartition,
    config: LogConfig,
    files: Files,
    *,
    now_ms: int,
    log_start_offset: Offset = 0,
    recovery_point: Offset = 0,
    producer_id_expiration_ms: int = 86_400_000,
    progress: Callable[[int, int], None] | None = None,
) -> RecoveryReport:
    """Checks every batch from the recovery point on, cuts the log at the first bad one, rebuilds what is
    derived.

    Args:
        directory: the partition's directory.
        recovery_point: everything before it is known to be on disk; checking starts with its segment.
        progress: told (segments done, segments to do).

    Raises:
        OSError: the disk failed.
    """
    context = StorageContext(now_ms=lambda: now_ms, files=files, handle_limit=16)
    tidy_directory(files, directory)
    content = read_directory(files, directory)
    place = LogPlace(directory)
    segments = [
        Segment(place, base, context, size=size, index_interval=config.index_interval_bytes)
        for base, size in content.logs
    ]
    for segment in segments:
        segment.aborted.exists = segment.base_offset in content.txn_indexes
    recovery = _Recovery(context, directory, topic_partition, content, may_have_gaps=config.compact)
    try:
        return recovery.run(
            segments, log_start_offset, recovery_point, now_ms - producer_id_expiration_ms, progress
        )
    finally:
        for segment in segments:
            segment.close_handle()


def bytes_to_check(files: Files, directory: str, recovery_point: Offset) -> int:
    """How much a recovery of this directory would read."""
    logs = read_directory(files, directory).logs
    first = max((n for n, (base, _size) in enumerate(logs) if base <= recovery_point), default=0)
    return sum(size for _base, size in logs[first:])


class _Recovery:
    """One run over one directory."""

    def __init__(
        self,
        context: StorageContext,
        directory: str,
        topic_partition: TopicPartition,
        content: DirectoryContent,
        *,
        may_have_gaps: bool,
    ) -> None:
        self._may_have_gaps = may_have_gaps
        self._context = context
        self._files = context.files
        self._directory = directory
        self._content = content
        self._partition = topic_partition
        self._state = ProducerState(topic_partition)
        try:
            self._epochs = LeaderEpochs(checkpoints.read_leader_epochs(self._files, directory))
        except CorruptFile as error:
            logger.warning("%s; rebuilding it from the records", error)
            self._epochs = LeaderEpochs()
            self._epochs.dirty = True
        self._checked = 0
        self._truncated = 0

    def run(
        self,
        segments: list[Segment],
        log_start_offset: Offset,
        recovery_point: Offset,
        expired_before_ms: int,
        progress: Callable[[int, int], None] | None,
    ) -> RecoveryReport:
        first = max((n for n, s in enumerate(segments) if s.base_offset <= recovery_point), default=0)
        unflushed = segments[first:]
        if unflushed:
            base = unflushed[0].base_offset
            load_producers(
                self._context,
                self._directory,
                self._content,
                self._state,
                segments[:first],
                log_start_offset,
                base,
                expired_before_ms,
            )
        done = 0
        for number, segment in enumerate(unflushed):
            if number and segment.base_offset > self._state.end_offset and not self._may_have_gaps:
                logger.warning(
                    "%s: the end of the segment before %s is lost, nothing valid follows offset %d",
                    self._partition,
                    segment.path(),
                    self._state.end_offset,
                )
                self._drop(unflushed[number:])
                break
            cut = self._recover_segment(segment)
            done += 1
            self._snapshot()
            if progress is not None:
                progress(done, len(unflushed))
            if cut:
                logger.warning(
                    "%s: cut %d bytes at offset %d in %s, nothing valid follows",
                    self._partition,
                    cut,
                    self._state.end_offset,
                    segment.path(),
                )
                self._drop(unflushed[number + 1 :])
                break
        end = self._state.end_offset if unflushed else log_start_offset
        self._epochs.truncate_from_end(end)
        if self._epochs.dirty:
            checkpoints.write_leader_epochs(self._files, self._directory, self._epochs.entries)
        return RecoveryReport(done, self._checked, self._truncated, end)

    def _drop(self, segments: list[Segment]) -> None:
        for segment in reversed(segments):
            self._truncated += segment.size
            for path in segment.rename_to_deleted():
                self._files.unlink(path)
        for offset in self._content.snapshots:
            if offset > self._state.end_offset:
                self._files.unlink_if_exists(
                    join(self._directory, names.segment_file(offset, names.SNAPSHOT))
                )

    def _snapshot(self) -> None:
        path = join(self._directory, names.segment_file(self._state.end_offset, names.SNAPSHOT))
        self._files.write_bytes(path, encode_snapshot(self._state.active().values()))

    def _recover_segment(self, segment: Segment) -> int:
        """Returns the bytes cut off the end."""
        if segment.aborted.exists:
            self._files.unlink_if_exists(segment.path(names.TXN_INDEX))
            segment.aborted.exists = False
        segment.reset_indexes()
        check = SegmentCheck(self._files, segment, self._state, self._epochs)
        check.run()
        self._checked += segment.size
        self._state.end_offset = max(self._state.end_offset, check.next_offset)
        cut = segment.size - check.valid_bytes
        if cut:
            self._files.truncate(segment.open_handle().fd, check.valid_bytes)
            segment.size = check.valid_bytes
            self._truncated += cut
        segment.write_indexes(final=True)
        segment.drop_indexes()
        segment.close_handle()
        return cut


def sync_file(files: Files, path: str) -> None:
    """Makes a file durable; one that vanished meanwhile is not an error."""
    try:
        fd = files.open(path)
    except FileNotFoundError:
        return
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def load_producers(
    context: StorageContext,
    directory: str,
    content: DirectoryContent,
    state: ProducerState,
    segments: list[Segment],
    log_start_offset: Offset,
    end_offset: Offset,
    expired_before_ms: int,
) -> None:
    """Sets ``state`` to what the log up to ``end_offset`` (exclusive) says: the best snapshot and what
    follows it.

    Snapshots beyond the end, or not beyond the log start, are removed: they speak of records that are gone.
    """
    files = context.files
    usable = []
    for offset in sorted(content.snapshots):
        if offset > end_offset or offset <= log_start_offset:
            files.unlink_if_exists(join(directory, names.segment_file(offset, names.SNAPSHOT)))
            content.snapshots.discard(offset)
        else:
            usable.append(offset)
    if not state.is_known_until(end_offset):
        state.clear(log_start_offset)
        _load_snapshot(files, directory, content, state, usable, expired_before_ms)
        _replay_producers(files, state, segments, end_offset)


def _load_snapshot(
    files: Files,
    directory: str,
    content: DirectoryContent,
    state: ProducerState,
    usable: list[Offset],
    expired_before_ms: int,
) -> None:
    while usable:
        offset = usable.pop()
        path = join(directory, names.segment_file(offset, names.SNAPSHOT))
        try:
            state.load(decode_snapshot(files.read_bytes(path)), offset, expired_before_ms)
            break
        except CorruptFile as error:
            logger.warning("%s: %s; dropping it", path, error)
            files.unlink(path)
            content.snapshots.discard(offset)


def _replay_producers(
    files: Files, state: ProducerState, segments: list[Segment], end_offset: Offset
) -> None:
    start = state.end_offset
    if start < end_offset:
        first = max((n for n, s in enumerate(segments) if s.base_offset <= start), default=0)
        for segment in segments[first:]:
            located = segment.locate(max(start, segment.base_offset))
            if located is None:
                continue
            for _position, header, batch in whole_batches(files, segment, located[0]):
                if header.base_offset >= end_offset:
                    break
                if header.producer_id >= 0:
                    completed = replay_batch(state, header, batch)
                    if completed is not None:
                        state.complete(completed)
    state.end_offset = end_offset
