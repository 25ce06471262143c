"""All logs of a broker over all its log directories: start, creation, deletion, checkpoints, clean stop.

Source: ``LogManager`` of Kafka 3.9.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from attrs import Factory, define, frozen

from pybroker.model.ids import Offset, TopicId, TopicPartition
from pybroker.storage import checkpoints, names
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import LogDirFailed, LogDirUnusable, StorageError
from pybroker.storage.flush import FlushJob
from pybroker.storage.handles import join
from pybroker.storage.loader import create_log, open_log
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_dirs import LogDir, LogDirs
from pybroker.storage.names import DirectoryKind, PartitionDirectory
from pybroker.storage.recovery import bytes_to_check, recover_partition
from pybroker.storage.recovery_workers import Outcome, RecoveryTask, run_tasks

logger = logging.getLogger(__name__)

_IGNORED_DIRECTORIES = frozenset({"remote-log-index-cache"})
WORKER_BYTES = 256 << 20
"""Below this, recovering is faster than starting processes for it."""

_IGNORED_TOPIC = "__cluster_metadata"


@frozen
class LoadProgress:
    """How far loading is, for a progress bar or log lines."""

    log_dir: str
    partitions_done: int
    partitions_total: int
    recovering: bool
    """Whether the last stop was unclean, so that records are checked."""


@define(eq=False)
class _Work:
    """A partition's directory that is to be opened."""

    log_dir: LogDir
    path: str
    parsed: PartitionDirectory
    log_start_offset: Offset
    recovery_point: Offset
    cleaned_offset: Offset | None
    is_clean: bool


@define(eq=False)
class _Logs:
    current: dict[TopicPartition, Log] = Factory(dict)
    future: dict[TopicPartition, Log] = Factory(dict)
    stray: dict[TopicPartition, str] = Factory(dict)


class LogManager(LogDirs):
    """The logs of one broker. Call :meth:`lock`, :meth:`owner` or :meth:`claim`, then :meth:`load`."""

    def __init__(
        self,
        log_dirs: Sequence[str],
        context: StorageContext,
        *,
        config_of: Callable[[str], LogConfig] = lambda _topic: LogConfig(),
        recover: Callable[..., object] = recover_partition,
    ) -> None:
        """Nothing is touched yet.

        Args:
            log_dirs: paths; the first one is where a single node keeps its metadata.
            config_of: the configuration of a topic, asked at load and at creation without a config.
            recover: recovers one partition's directory; as :func:`recover_partition`.
        """
        super().__init__(log_dirs, context)
        self._config_of = config_of
        self._recover = recover
        self._logs = _Logs()
        self._surveys: dict[str, list[_Work]] = {}

    # -- start

    def recover_in_workers(
        self,
        progress: Callable[[LoadProgress], None] | None = None,
        *,
        workers: int = 2,
        least_bytes: int = WORKER_BYTES,
    ) -> None:
        """Recovers what an unclean stop left, in processes of their own, before :meth:`load`; blocking.

        May be called in a thread. Does nothing when there is little to check: then :meth:`load` does it.

        Args:
            workers: processes per log directory (``num.recovery.threads.per.data.dir``).
        """
        self._survey_all()
        tasks = {
            item.path: (self._task(item), item)
            for work in self._surveys.values()
            for item in work
            if not item.is_clean and item.parsed.kind in (DirectoryKind.CURRENT, DirectoryKind.FUTURE)
        }
        if sum(task.size_in_bytes for task, _item in tasks.values()) < least_bytes:
            return
        counts = dict.fromkeys(self._surveys, 0)

        def done(task: RecoveryTask, outcome: Outcome) -> None:
            item = tasks[task.directory][1]
            path = item.log_dir.path
            counts[path] += 1
            if isinstance(outcome, OSError):
                self._take_offline(path, outcome)
            elif outcome is not None:
                item.is_clean = True
            if progress is not None:
                progress(LoadProgress(path, counts[path], len(self._surveys[path]), recovering=True))

        dirty_dirs = {item.log_dir.path for _task, item in tasks.values()}
        run_tasks([task for task, _item in tasks.values()], workers * len(dirty_dirs), done)

    def _task(self, item: _Work) -> RecoveryTask:
        partition = item.parsed.topic_partition
        return RecoveryTask(
            item.path,
            partition,
            self._config_of(partition.topic),
            item.log_start_offset,
            item.recovery_point,
            self._context.now_ms(),
            self._context.producer_id_expiration_ms,
            bytes_to_check(self._files, item.path, item.recovery_point),
        )

    def _survey_all(self) -> None:
        for path in self.online_dirs():
            if path not in self._surveys:
                try:
                    self._surveys[path] = self._survey(self.dirs[path])
                except OSError as error:
                    self._take_offline(path, error)

    def load(self, progress: Callable[[LoadProgress], None] | None = None) -> None:
        """Opens every partition, after recovery where the last stop was unclean."""
        for _ in self.load_steps(progress):
            pass

    def load_steps(self, progress: Callable[[LoadProgress], None] | None = None) -> Iterator[None]:
        """As :meth:`load`, one partition a step, for a caller with other things to do between."""
        self._survey_all()
        for path, work in self._surveys.items():
            log_dir = self.dirs[path]
            for number, item in enumerate(work, 1):
                if path not in self.online_dirs():
                    break
                try:
                    self._load_one(item)
                except OSError as error:
                    self._take_offline(log_dir.path, error)
                if progress is not None:
                    progress(LoadProgress(log_dir.path, number, len(work), not log_dir.was_clean))
                yield
            log_dir.is_loaded = log_dir.is_online

    def _survey(self, log_dir: LogDir) -> list[_Work]:
        log_dir.was_clean = checkpoints.take_clean_shutdown_mark(self._files, log_dir.path)
        recovery_points = self._read_checkpoint(log_dir, names.RECOVERY_POINT_CHECKPOINT)
        log_starts = self._read_checkpoint(log_dir, names.LOG_START_CHECKPOINT)
        cleaned = self._read_checkpoint(log_dir, names.CLEANER_CHECKPOINT)
        work = []
        for entry in self._files.scan(log_dir.path):
            if not entry.is_dir() or entry.name in _IGNORED_DIRECTORIES:
                continue
            try:
                parsed = names.parse_partition_directory(entry.name)
            except ValueError as error:
                raise LogDirUnusable(f"{entry.path} does not belong into a log directory: {error}") from error
            partition = parsed.topic_partition
            if partition.topic != _IGNORED_TOPIC:
                start, point = log_starts.get(partition, 0), recovery_points.get(partition, 0)
                item = _Work(
                    log_dir, entry.path, parsed, start, point, cleaned.get(partition), log_dir.was_clean
                )
                work.append(item)
        work.sort(key=lambda item: item.path)
        return work

    def _load_one(self, item: _Work) -> None:
        partition, kind = item.parsed.topic_partition, item.parsed.kind
        if kind is DirectoryKind.DELETE:
            self._context.trash.add(item.path, self._context.now_ms())
            return
        if kind is DirectoryKind.STRAY:
            self._logs.stray[partition] = item.path
            return
        logs = self._logs.future if kind is DirectoryKind.FUTURE else self._logs.current
        if partition in logs:
            raise LogDirUnusable(
                f"{partition} is in {logs[partition].directory} and in {item.path}; delete the older one"
            )
        log = open_log(
            item.path,
            partition,
            self._config_of(partition.topic),
            self._context,
            log_start_offset=item.log_start_offset,
            recovery_point=item.recovery_point,
            clean=item.is_clean,
            was_flushed=item.log_dir.was_clean,
            recover=self._recover,
        )
        if kind is DirectoryKind.CURRENT:
            log.cleaned_offset = item.cleaned_offset
        logs[partition] = log

    # -- the logs

    def get(self, topic_partition: TopicPartition) -> Log | None:
        """A partition's log; None when there is none here, or its disk is offline."""
        return self._logs.current.get(topic_partition)

    def all_logs(self) -> Iterable[Log]:
        """Every live log."""
        return self._logs.current.values()

    def future_logs(self) -> Iterable[Log]:
        """Every log that is to replace a live one in another directory."""
        return self._logs.future.values()

    def __len__(self) -> int:
        return len(self._logs.current)

    def create(
        self,
        topic_partition: TopicPartition,
        topic_id: TopicId | None = None,
        config: LogConfig | None = None,
        *,
        log_dir: str | None = None,
        is_new: bool = True,
    ) -> Log:
        """Makes a log, or returns the one there is. Without a directory the one with the fewest partitions
        is taken.

        Args:
            is_new: whether the partition is known to have no records yet. Others are not made anew while a
                directory that may hold them is offline.

        Raises:
            LogDirFailed: no log directory works, or the log may be in one that does not.
        """
        existing = self._logs.current.get(topic_partition)
        if existing is not None:
            if topic_id is not None and existing.topic_id is None:
                existing.assign_topic_id(topic_id)
            return existing
        if not is_new and len(self.online_dirs()) < len(self.dirs):
            raise LogDirFailed("(unknown)", f"{topic_partition} may be in a directory that is offline")
        config = self._config_of(topic_partition.topic) if config is None else config
        for path in self._candidates(log_dir):
            try:
                log = create_log(
                    join(path, names.partition_directory(topic_partition)),
                    topic_partition,
                    config,
                    self._context,
                    topic_id,
                )
            except OSError as error:
                self._take_offline(path, error)
                continue
            self._logs.current[topic_partition] = log
            return log
        raise LogDirFailed(log_dir or "(any)", "no log directory is online")

    def _candidates(self, log_dir: str | None) -> list[str]:
        if log_dir is not None:
            return [path for path in self.online_dirs() if path == os.path.abspath(log_dir)]
        counts = dict.fromkeys(self.online_dirs(), 0)
        if len(counts) > 1:
            for log in self._logs.current.values():
                counts[log.log_dir] += 1
        return sorted(counts, key=counts.__getitem__)

    def update_config(self, topic: str, config: LogConfig) -> None:
        """Gives a topic's changed configuration to its logs."""
        for partition, log in self._logs.current.items():
            if partition.topic == topic:
                log.update_config(config)

    def delete_async(self, topic_partition: TopicPartition) -> bool:
        """Renames a log's directory to ``-delete`` now and removes it later; False when there is no such log.

        Raises:
            LogDirFailed: the rename failed.
        """
        log = self._logs.current.pop(topic_partition, None)
        if log is None:
            return False
        renamed = names.renamed_directory(topic_partition, DirectoryKind.DELETE)
        log.move_directory(join(log.log_dir, renamed))
        log.close_handles()
        self._context.trash.add(log.directory, self._context.now_ms() + log.config.file_delete_delay_ms)
        if log.cleaned_offset is not None:
            self.checkpoint_cleaned(os.path.dirname(log.directory))
        return True

    def mark_stray(self, topic_partition: TopicPartition) -> None:
        """Renames a replica that nobody assigned to this broker to ``-stray``, so that it can be looked
        at."""
        log = self._logs.current.pop(topic_partition)
        renamed = names.renamed_directory(topic_partition, DirectoryKind.STRAY)
        log.move_directory(join(log.log_dir, renamed))
        log.close_handles()
        self._logs.stray[topic_partition] = log.directory

    def truncate_to(self, topic_partition: TopicPartition, offset: Offset) -> None:
        """Cuts a follower's log, and its recovery point on disk before anything is appended again."""
        log = self._logs.current[topic_partition]
        point, cleaned = log.recovery_point, log.cleaned_offset
        if log.truncate_to(offset):
            if log.recovery_point < point:
                self._write_recovery_points(log.log_dir)
            if log.cleaned_offset != cleaned:
                self.checkpoint_cleaned(log.log_dir)

    # -- regular work

    def empty_trash(self, now_ms: int | None = None) -> int:
        """Removes what is due: deleted segments and partitions. Returns the count."""
        due = self._context.trash.take_due(self._context.now_ms() if now_ms is None else now_ms)
        for path in due:
            try:
                self.remove_path(path)
            except OSError as error:
                self.path_failed(path, error)
        return len(due)

    def remove_path(self, path: str) -> None:
        """Unlinks a file or a directory from the trash; may be called in a thread.

        Raises:
            OSError: the disk failed: see :meth:`path_failed`.
        """
        if os.path.isdir(path):
            self._files.remove_tree(path)
        else:
            self._files.unlink_if_exists(path)

    def path_failed(self, path: str, error: OSError) -> None:
        """Takes the log directory offline that a path is in."""
        self._take_offline(self._dir_of(path), error)

    def apply_retention(self, high_watermark_of: Callable[[TopicPartition], Offset]) -> int:
        """One round over all logs; returns how many segments went."""
        count = 0
        for log in list(self._logs.current.values()):
            try:
                deleted, reason = log.apply_retention(high_watermark_of(log.topic_partition))
            except StorageError as error:
                logger.error("retention of %s failed: %s", log.topic_partition, error)
                continue
            if deleted:
                logger.info("%s: deleted %d segments, %s", log.topic_partition, deleted, reason)
            count += deleted
        return count

    def logs_to_flush(self, now_ms: int) -> list[Log]:
        """Logs with sealed segments not yet durable, or whose ``flush.ms`` is over."""
        return [
            log
            for log in self._logs.current.values()
            if log.has_sealed_unflushed
            or (log.unflushed_messages > 0 and now_ms - log.last_flush_ms >= log.config.flush_ms)
        ]

    def checkpoint(self) -> None:
        """Writes recovery points and log start offsets of every online directory (every 60 s, and at
        stop)."""
        for path in self._loaded_dirs():
            self._write_recovery_points(path)
            self._write_checkpoint(
                path,
                names.LOG_START_CHECKPOINT,
                {
                    log.topic_partition: log.log_start_offset
                    for log in self._logs_in(path)
                    if log.log_start_offset > log.segments.first.base_offset
                },
            )

    def _write_recovery_points(self, path: str) -> None:
        points = {log.topic_partition: log.recovery_point for log in self._logs_in(path)}
        self._write_checkpoint(path, names.RECOVERY_POINT_CHECKPOINT, points)

    def checkpoint_high_watermarks(self, high_watermarks: Mapping[TopicPartition, Offset]) -> None:
        """Writes the high watermarks, each into its log's directory (every 5 s, and at stop)."""
        for path in self._loaded_dirs():
            values = {
                log.topic_partition: high_watermarks[log.topic_partition]
                for log in self._logs_in(path)
                if log.topic_partition in high_watermarks
            }
            self._write_checkpoint(path, names.HIGH_WATERMARK_CHECKPOINT, values)

    def checkpoint_cleaned(self, path: str) -> None:
        """Writes how far the logs of a directory are compacted (when that changes)."""
        offsets = {
            log.topic_partition: log.cleaned_offset
            for log in self._logs_in(path)
            if log.cleaned_offset is not None
        }
        self._write_checkpoint(path, names.CLEANER_CHECKPOINT, offsets)

    def read_high_watermarks(self) -> dict[TopicPartition, Offset]:
        """The checkpointed high watermarks of all directories."""
        values: dict[TopicPartition, Offset] = {}
        for path in self.online_dirs():
            values.update(self._read_checkpoint(self.dirs[path], names.HIGH_WATERMARK_CHECKPOINT))
        return values

    def _logs_in(self, path: str) -> list[Log]:
        return [log for log in self._logs.current.values() if log.log_dir == path]

    # -- stop

    def close(self, *, broker_epoch: int = -1) -> None:
        """Flushes and closes every log, writes the checkpoints and the clean-shutdown marks, unlocks.

        A directory of which a log could not be closed, or not all were opened, keeps no mark.
        """
        closed = [path for path in self._loaded_dirs() if self._close_logs(path)]
        self.checkpoint()
        for path in closed:
            try:
                checkpoints.write_clean_shutdown_mark(self._files, path, broker_epoch)
            except OSError as error:
                self._take_offline(path, error)
        self.release()

    def _close_logs(self, path: str) -> bool:
        jobs: list[tuple[Log, FlushJob]] = []
        for log in (*self._logs_in(path), *self._logs.future.values()):
            if log.log_dir != path:
                continue
            try:
                job = log.prepare_close()
            except StorageError as error:
                logger.error("closing %s: %s", log.topic_partition, error)
                return False
            if job is not None:
                jobs.append((log, job))
        try:
            with ThreadPoolExecutor(self._files.parallel_syncs, thread_name_prefix="sync") as pool:
                list(pool.map(FlushJob.run, [job for _log, job in jobs]))
        except OSError as error:
            self._take_offline(path, error)
            return False
        for log, job in jobs:
            log.flush_done(job)
        return True

    def _loaded_dirs(self) -> list[str]:
        return [path for path in self.online_dirs() if self.dirs[path].is_loaded]

    def release(self) -> None:
        """Closes descriptors and unlocks without writing: after :meth:`close`, or to stop as if killed."""
        for log in (*self._logs.current.values(), *self._logs.future.values()):
            log.close_handles()
        self._logs = _Logs()
        self.unlock()

    def _forget_logs(self, path: str) -> None:
        for partition in [log.topic_partition for log in self._logs_in(path)]:
            self._logs.current.pop(partition).close_handles()
