"""What a start does with the log directories: survey, recovery, opening.

Source: ``LogManager.loadLogs`` of Kafka 3.9.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import field

from pybroker.model.values import State, Value
from pybroker.storage import checkpoints, names
from pybroker.storage.errors import LogDirUnusable
from pybroker.storage.handles import join
from pybroker.storage.log_dirs import LogDir, LogDirs
from pybroker.storage.names import DirectoryKind, PartitionDirectory

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.model.ids import Offset, TopicPartition
    from pybroker.storage.context import StorageContext
    from pybroker.storage.log import Log
    from pybroker.storage.log_config import LogConfig
    from pybroker.storage.recovery_workers import Outcome, RecoveryTask

logger = logging.getLogger(__name__)

_IGNORED_DIRECTORIES = frozenset({"remote-log-index-cache"})
WORKER_BYTES = 256 << 20
"""Below this, recovering is faster than starting processes for it."""

_IGNORED_TOPIC = "__cluster_metadata"


class LoadProgress(Value):
    """How far loading is, for a progress bar or log lines."""

    log_dir: str
    partitions_done: int
    partitions_total: int
    recovering: bool
    """Whether the last stop was unclean, so that records are checked."""


class FoundPartition(State, eq=False):
    """A partition's directory that is to be opened."""

    log_dir: LogDir
    path: str
    parsed: PartitionDirectory
    log_start_offset: Offset
    recovery_point: Offset
    cleaned_offset: Offset | None
    is_clean: bool


class LoadedLogs(State, eq=False):
    """The logs that are open, by partition."""

    current: dict[TopicPartition, Log] = field(default_factory=dict)
    future: dict[TopicPartition, Log] = field(default_factory=dict)


class LogLoading(LogDirs):
    """The part of :class:`pybroker.storage.log_manager.LogManager`, which extends it, that finds and opens
    what is there."""

    def __init__(
        self,
        log_dirs: Sequence[str],
        context: StorageContext,
        *,
        config_of: Callable[[str], LogConfig] | None = None,
        recover: Callable[..., object] | None = None,
    ) -> None:
        """Nothing is touched yet.

        Args:
            log_dirs: paths; the first one is where a single node keeps its metadata.
            config_of: the configuration of a topic, asked at load and at creation without a config; by
                default all have Kafka's own.
            recover: recovers one partition's directory; by default :func:`recover_partition`.
        """
        super().__init__(log_dirs, context)
        context.on_cut = self._note_cut
        self._config_of = config_of or _default_config
        self._recover = recover
        self._logs = LoadedLogs()
        self._surveys: dict[str, list[FoundPartition]] = {}
        self._preferred: dict[TopicPartition, str] = {}

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
        dirty = [
            item
            for work in self._surveys.values()
            for item in work
            if not item.is_clean and item.parsed.kind in (DirectoryKind.CURRENT, DirectoryKind.FUTURE)
        ]
        if not dirty:
            return
        from pybroker.storage.recovery_workers import run_tasks

        tasks = {item.path: (self._task(item), item) for item in dirty}
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

    def _task(self, item: FoundPartition) -> RecoveryTask:
        from pybroker.storage.recovery import bytes_to_check
        from pybroker.storage.recovery_workers import RecoveryTask

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

    def _note_cut(self, log: Log) -> None:
        """Writes the checkpoints that say more than the log has now."""

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

    def _survey(self, log_dir: LogDir) -> list[FoundPartition]:
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
                item = FoundPartition(
                    log_dir, entry.path, parsed, start, point, cleaned.get(partition), log_dir.was_clean
                )
                work.append(item)
        work.sort(key=lambda item: item.path)
        return work

    def _load_one(self, item: FoundPartition) -> None:
        partition, kind = item.parsed.topic_partition, item.parsed.kind
        if kind is DirectoryKind.DELETE:
            self._context.trash.add(item.path, self._context.now_ms())
            return
        if kind is DirectoryKind.STRAY:
            return
        from pybroker.storage.loader import open_log

        logs = self._logs.future if kind is DirectoryKind.FUTURE else self._logs.current
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
        logs[partition] = log if partition not in logs else self._choose(logs[partition], log)

    def _choose(self, first: Log, second: Log) -> Log:
        """Keeps the one of two logs of a partition that has all of the other: the broker stopped amid the
        end of a move, after the new log had its name and before the old one lost it.

        Raises:
            LogDirUnusable: neither has.
        """
        from pybroker.storage.log_copy import is_copy_of

        if is_copy_of(first, second):
            kept, dropped = second, first
        elif is_copy_of(second, first):
            kept, dropped = first, second
        else:
            raise LogDirUnusable(
                f"{first.topic_partition} is in {first.directory} and in {second.directory}, and they "
                "differ; delete the older one"
            )
        logger.warning(
            "%s was moved to %s; %s is removed", kept.topic_partition, kept.directory, dropped.directory
        )
        kept.advance_log_start_offset(min(dropped.log_start_offset, kept.log_end_offset))
        self._discard(dropped)
        return kept

    def _discard(self, log: Log) -> None:
        """Renames a log's directory to ``-delete`` now; it is removed after ``file.delete.delay.ms``."""
        renamed = names.renamed_directory(log.topic_partition, DirectoryKind.DELETE)
        log.move_directory(join(log.log_dir, renamed))
        log.close_handles()
        self._context.trash.add(log.directory, self._context.now_ms() + log.config.file_delete_delay_ms)


def _default_config(_topic: str) -> LogConfig:
    from pybroker.storage.log_config import LogConfig

    return LogConfig()
