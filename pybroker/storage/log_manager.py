"""All logs of a broker over all its log directories: creation, moves, deletion, checkpoints, clean stop.

Starting is in :mod:`pybroker.storage.log_loading`. Source: ``LogManager`` of Kafka 3.9.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pybroker.storage import checkpoints, names
from pybroker.storage.errors import LogDirFailed, StorageError
from pybroker.storage.handles import join
from pybroker.storage.log_loading import LoadedLogs, LogLoading
from pybroker.storage.names import DirectoryKind

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.model.ids import Offset, TopicId, TopicPartition
    from pybroker.storage.flush import FlushJob
    from pybroker.storage.log import Log
    from pybroker.storage.log_config import LogConfig

logger = logging.getLogger(__name__)


class LogManager(LogLoading):
    """The logs of one broker. Call :meth:`lock`, :meth:`owner` or :meth:`claim`, then :meth:`load`."""

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
        """Makes a log, or returns the one there is. Without a directory it goes into the preferred one, or
        into that with the fewest partitions.

        Args:
            is_new: whether the partition is known to have no records yet. Others are not made anew while a
                directory that may hold them is offline.

        Raises:
            LogDirFailed: no log directory works, or the log may be in one that does not.
        """
        from pybroker.storage.loader import create_log

        existing = self._logs.current.get(topic_partition)
        if existing is not None:
            if topic_id is not None and existing.topic_id is None:
                existing.assign_topic_id(topic_id)
            return existing
        if not is_new and len(self.online_dirs()) < len(self.dirs):
            raise LogDirFailed("(unknown)", f"{topic_partition} may be in a directory that is offline")
        config = self._config_of(topic_partition.topic) if config is None else config
        log_dir = log_dir or self._preferred.get(topic_partition)
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
            self._preferred.pop(topic_partition, None)
            return log
        raise LogDirFailed(log_dir or "(any)", "no log directory is online")

    def _candidates(self, log_dir: str | None) -> list[str]:
        if log_dir is not None:
            return [path for path in self.online_dirs() if path == os.path.abspath(log_dir)]
        counts = dict.fromkeys(self.online_dirs(), 0)
        if len(counts) > 1:
            for log in (*self._logs.current.values(), *self._logs.future.values()):
                counts[log.log_dir] += 1
        return sorted(counts, key=counts.__getitem__)

    def delete_async(self, topic_partition: TopicPartition) -> bool:
        """Renames a log's directory to ``-delete`` now and removes it later; False when there is no such log.

        Raises:
            LogDirFailed: the rename failed.
        """
        self.drop_future(topic_partition)
        log = self._logs.current.pop(topic_partition, None)
        if log is None:
            return False
        self._discard(log)
        if log.cleaned_offset is not None:
            self.checkpoint_cleaned(log.log_dir)
        return True

    # -- moves between directories (KIP-113)

    def future(self, topic_partition: TopicPartition) -> Log | None:
        """The log that is to replace the partition's log; None when it is not being moved."""
        return self._logs.future.get(topic_partition)

    def prefer(self, topic_partition: TopicPartition, log_dir: str) -> None:
        """A log that is not here yet is to be made in that directory."""
        if topic_partition not in self._logs.current:
            self._preferred[topic_partition] = log_dir

    def create_future(self, topic_partition: TopicPartition, log_dir: str) -> Log:
        """Makes an empty log in another directory, which is to replace the one there is.

        Raises:
            LogDirFailed: the disk failed.
        """
        from pybroker.storage.loader import create_log

        log = self._logs.current[topic_partition]
        path = join(log_dir, names.renamed_directory(topic_partition, DirectoryKind.FUTURE))
        try:
            made = create_log(path, topic_partition, log.config, self._context, log.topic_id)
        except (OSError, StorageError) as error:
            if isinstance(error, OSError):
                self._take_offline(log_dir, error)
            # What is left of it would look like a move that is to go on.
            with contextlib.suppress(OSError):
                self._files.remove_tree(path)
            raise LogDirFailed(log_dir, str(error)) from error
        self._logs.future[topic_partition] = made
        return made

    def drop_future(self, topic_partition: TopicPartition) -> bool:
        """Gives a move up; False when there was none.

        Raises:
            LogDirFailed: the rename failed.
        """
        log = self._logs.future.pop(topic_partition, None)
        if log is not None:
            self._discard(log)
        return log is not None

    def replace_with_future(self, topic_partition: TopicPartition) -> Log:
        """Puts a complete future log in the place of the partition's log, which is removed; blocking.

        The new log is durable before it gets its name, and has its name durably before the old one loses it:
        a crash leaves the old log, the new one, or both, of which the next start keeps the new one.

        Raises:
            LogDirFailed: the new log's disk failed; the old log stays.
        """
        old, new = self._logs.current[topic_partition], self._logs.future[topic_partition]
        new.flush()
        new.move_directory(join(new.log_dir, names.partition_directory(topic_partition)), sync=True)
        new.cleaned_offset = old.cleaned_offset
        self._logs.current[topic_partition] = self._logs.future.pop(topic_partition)
        try:
            self._discard(old)
        except LogDirFailed as error:
            logger.error("%s stays behind: %s", old.directory, error)
        for path in (new.log_dir, old.log_dir):
            self._write_recovery_points(path)
            self._write_log_starts(path)
            if new.cleaned_offset is not None:
                self.checkpoint_cleaned(path)
        return new

    # -- regular work

    def _note_cut(self, log: Log) -> None:
        if log in (self.get(log.topic_partition), self.future(log.topic_partition)):
            self._write_recovery_points(log.log_dir)
            if log.cleaned_offset is not None:
                self.checkpoint_cleaned(log.log_dir)

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

    def logs_to_flush(self, now_ms: int) -> list[Log]:
        """Logs whose ``flush.ms`` is over."""
        return [
            log
            for log in self._logs.current.values()
            if log.unflushed_messages > 0 and now_ms - log.last_flush_ms >= log.config.flush_ms
        ]

    def take_sealed(self) -> list[Log]:
        """Logs that have rolled since they were last taken, and are still there."""
        sealed, self._context.sealed = self._context.sealed, set()
        found = (logs.get(tp) for tp in sealed for logs in (self._logs.current, self._logs.future))
        return [log for log in found if log is not None]

    def checkpoint(self) -> None:
        """Writes recovery points and log start offsets of every online directory (every 60 s, and at
        stop)."""
        for path in self._loaded_dirs():
            self._write_recovery_points(path)
            self._write_log_starts(path)

    def _write_recovery_points(self, path: str) -> None:
        points = {log.topic_partition: log.recovery_point for log in self._all_in(path)}
        self._write_checkpoint(path, names.RECOVERY_POINT_CHECKPOINT, points)

    def _write_log_starts(self, path: str) -> None:
        starts = {
            log.topic_partition: log.log_start_offset
            for log in self._all_in(path)
            if log.log_start_offset > log.segments.first.base_offset
        }
        self._write_checkpoint(path, names.LOG_START_CHECKPOINT, starts)

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

    def _all_in(self, path: str) -> list[Log]:
        """With those that are on their way there."""
        return self._logs_in(path) + [log for log in self._logs.future.values() if log.log_dir == path]

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
        from concurrent.futures import ThreadPoolExecutor

        jobs: list[tuple[Log, FlushJob]] = []
        for log in self._all_in(path):
            try:
                job = log.prepare_close()
            except StorageError as error:
                logger.error("closing %s: %s", log.topic_partition, error)
                return False
            if job is not None:
                jobs.append((log, job))
        try:
            with ThreadPoolExecutor(self._files.parallel_syncs, thread_name_prefix="sync") as pool:
                list(pool.map(lambda item: item[1].run(), jobs))
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
        self._logs = LoadedLogs()
        self.unlock()

    def _forget_logs(self, path: str) -> None:
        for logs in (self._logs.current, self._logs.future):
            for partition in [partition for partition, log in logs.items() if log.log_dir == path]:
                logs.pop(partition).close_handles()
