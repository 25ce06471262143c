"""The log cleaner, as the broker runs it: chooses a log, lets a process clean it, takes over the result.

Nothing here is long: the process reads and writes, threads sync. The log is written and read meanwhile; only
a truncation, a deletion, or retention that takes segments away ends a clean early.
Source: ``LogCleaner`` of Kafka 3.9.
"""

import errno
import logging
from collections.abc import Callable
from typing import NoReturn

import trio
from msgspec import field

from pybroker.config.broker import BrokerConfig
from pybroker.model.ids import TopicPartition
from pybroker.model.values import State
from pybroker.replication.cleaner_process import CleanerProcess
from pybroker.replication.partition import Partition
from pybroker.replication.replicas import Replicas
from pybroker.storage import names
from pybroker.storage.cleaning.job import Cleaned, CleanedGroup, CleanerLimits, DamagedLog
from pybroker.storage.cleaning.selection import LogToClean, assess, dirtiest
from pybroker.storage.cleaning.view import facts_of, job_of, segments_to_clean
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import CorruptRecords
from pybroker.storage.files import NO_SPACE
from pybroker.storage.log import Log
from pybroker.storage.log_manager import LogManager
from pybroker.storage.segment import Segment

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.5
"""How often a running clean asks whether its log is still as it was."""
MAX_MAP_BYTES = (1 << 31) - 1
_MIB = 1 << 20


class _Aborted(Exception):
    """The log is no longer what the process was told of, or cannot be cleaned now."""


class LogCleaner(State, eq=False):
    """The cleaner of one broker. Several rounds may run at once, each on logs of its own."""

    config: Callable[[], BrokerConfig]
    storage: StorageContext
    logs: LogManager
    replicas: Replicas
    uncleanable: dict[TopicPartition, Log] = field(default_factory=dict)
    """Logs that are left alone because a clean failed on what is in them."""
    _in_progress: set[TopicPartition] = field(default_factory=set)
    _rounds: dict[trio.CancelScope, trio.Event] = field(default_factory=dict)
    _is_stopped: bool = False

    async def run_round(self) -> None:
        """Cleans one log after the other, the dirtiest first, until none is due; then its process ends.

        Raises:
            StorageError: the disk failed.
        """
        if self._is_stopped:
            return
        process = CleanerProcess()
        with trio.CancelScope() as scope:
            ended = self._rounds[scope] = trio.Event()
            try:
                await self._clean_all(process)
            finally:
                await process.stop()
                del self._rounds[scope]
                ended.set()

    async def stop(self) -> None:
        """Ends the rounds that run, and their processes; no log is touched any more when it returns."""
        self._is_stopped = True
        for scope, ended in list(self._rounds.items()):
            scope.cancel()
            await ended.wait()

    async def _clean_all(self, process: CleanerProcess) -> None:
        while (chosen := await self._choose()) is not None:
            partition, to_clean = chosen
            try:
                await _Clean(self, partition, to_clean, process).run()
            except _Aborted as reason:
                logger.info("cleaning of %s ended early: %s", partition.tp, reason)
                return
            finally:
                self._in_progress.discard(partition.tp)

    async def _choose(self) -> tuple[Partition, LogToClean] | None:
        self.uncleanable = {tp: log for tp, log in self.uncleanable.items() if self.logs.get(tp) is log}
        found: dict[TopicPartition, tuple[Partition, LogToClean]] = {}
        for partition in list(self.replicas):
            log = partition.log
            if log.config.compact and len(log.segments) > 1 and self._may_be_cleaned(partition):
                assessed = self._assess(partition)
                if assessed is not None:
                    found[partition.tp] = partition, assessed
                await trio.lowlevel.checkpoint()
        best = dirtiest(to_clean for partition, to_clean in found.values() if self._may_be_cleaned(partition))
        if best is None:
            return None
        self._in_progress.add(best.topic_partition)
        return found[best.topic_partition]

    def _may_be_cleaned(self, partition: Partition) -> bool:
        tp = partition.tp
        return (
            tp not in self._in_progress
            and tp not in self.uncleanable
            and self.logs.get(tp) is partition.log
            and self.logs.future(tp) is None
        )

    def _assess(self, partition: Partition) -> LogToClean | None:
        log, now_ms = partition.log, self.storage.now_ms()
        try:
            return assess(facts_of(log, partition.last_stable_offset, now_ms), now_ms)
        except CorruptRecords as error:
            self.give_up(log, str(error))
        except OSError as error:
            self.storage.on_failure(log.log_dir, error)
        return None

    def give_up(self, log: Log, reason: str) -> None:
        """Leaves a log alone until the broker starts again."""
        logger.error("%s cannot be cleaned and is left as it is: %s", log.topic_partition, reason)
        self.uncleanable[log.topic_partition] = log

    @property
    def limits(self) -> CleanerLimits:
        """What one process may use: its share of what all may."""
        config = self.config()
        threads = max(1, config.log_cleaner_threads)
        return CleanerLimits(
            min(config.log_cleaner_dedupe_buffer_size // threads, MAX_MAP_BYTES),
            config.log_cleaner_io_buffer_load_factor,
            config.log_cleaner_io_buffer_size // threads // 2,
            config.log_cleaner_io_max_bytes_per_second / threads,
        )


class _Clean:
    """One clean of one log, from the broker's side."""

    def __init__(
        self, cleaner: LogCleaner, partition: Partition, to_clean: LogToClean, process: CleanerProcess
    ) -> None:
        self._cleaner = cleaner
        self._storage = cleaner.storage
        self._log = partition.log
        self._to_clean = to_clean
        self._process = process
        self._directory = self._log.directory
        self._cuts = self._log.cuts
        self._sources = {one.base_offset: one for one in segments_to_clean(self._log, to_clean)}

    async def run(self) -> None:
        """Returns when the log is clean, or was given up.

        Raises:
            _Aborted: it is neither.
            StorageError: the disk failed.
        """
        log = self._log
        job = job_of(log, self._to_clean, self._storage.now_ms(), self._cleaner.limits)
        started = trio.current_time()
        is_done = False
        try:
            await self._process.send(job)
            done = await self._take_over()
            is_done = True
        finally:
            if not is_done:
                await self._process.stop()
                await self._remove_leftovers()
        if done is not None:
            self._finish(done, trio.current_time() - started)

    async def _take_over(self) -> Cleaned | None:
        """Swaps in one group after the other; None if the log was given up."""
        while True:
            match await self._next_answer():
                case CleanedGroup() as group:
                    await self._swap(group)
                case Cleaned() as done:
                    self._check_unchanged()
                    return done
                case DamagedLog(reason=reason):
                    await self._give_up(reason)
                    return None
                case OSError() as error:
                    self._fail(error)
                case _:
                    await self._give_up("its cleaner process died")
                    return None

    async def _next_answer(self) -> object:
        while True:
            with trio.move_on_after(LOOK_INTERVAL_S):
                return await self._process.receive()
            self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Raises _Aborted when what the process reads is no longer the log."""
        log = self._log
        if self._cleaner.logs.get(log.topic_partition) is not log or log.directory != self._directory:
            raise _Aborted("it is gone")
        if self._cleaner.logs.future(log.topic_partition) is not None:
            raise _Aborted("it is being moved to another directory")
        if log.cuts != self._cuts:
            raise _Aborted("it was truncated")
        present = {id(segment) for segment in log.segments}
        if any(id(segment) not in present for segment in self._sources.values()):
            raise _Aborted("some of its segments were deleted")

    async def _swap(self, group: CleanedGroup) -> None:
        self._check_unchanged()
        log = self._log
        old: list[Segment] = [self._sources.pop(base) for base in group.bases]
        replaced = log.replace_segments(old, group.size, has_txn_index=group.has_txn_index)
        try:
            await trio.to_thread.run_sync(self._storage.files.fsync_dir, self._directory)
        except FileNotFoundError:
            # The partition was deleted meanwhile, and its directory renamed.
            return
        except OSError as error:
            self._fail(error)
        self._storage.trash_renamed(replaced, log.config.file_delete_delay_ms)

    async def _give_up(self, reason: str) -> None:
        self._check_unchanged()
        self._cleaner.give_up(self._log, reason)
        await self._process.stop()
        await self._remove_leftovers()

    def _fail(self, error: OSError) -> NoReturn:
        if error.errno == errno.ENOENT:
            self._check_unchanged()
        if error.errno not in NO_SPACE:
            self._storage.on_failure(self._log.log_dir, error)
        raise _Aborted(str(error))

    def _finish(self, done: Cleaned, seconds: float) -> None:
        log, stats = self._log, done.stats
        log.cleaned_offset = done.end_offset
        logger.info(
            "cleaned %s from %d to %d in %.1f s: %.1f of %.1f MiB and %d of %d records stay",
            log.topic_partition,
            self._to_clean.first_dirty_offset,
            done.end_offset,
            seconds,
            stats.bytes_kept / _MIB,
            stats.bytes_read / _MIB,
            stats.records_kept,
            stats.records_read,
        )
        if stats.without_key:
            logger.warning("%s: dropped %d records without a key", log.topic_partition, stats.without_key)
        self._cleaner.logs.checkpoint_cleaned(log.log_dir)

    async def _remove_leftovers(self) -> None:
        """The files of a group that will not be swapped in; the next start would remove them too."""
        if self._cleaner.logs.get(self._log.topic_partition) is not self._log:
            return
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_remove_cleaned, self._storage, self._log.directory)


def _remove_cleaned(storage: StorageContext, directory: str) -> None:
    try:
        for entry in list(storage.files.scan(directory)):
            if entry.name.endswith(names.CLEANED):
                storage.files.unlink_if_exists(entry.path)
    except OSError as error:
        logger.warning("%s: what a clean has left cannot be removed: %s", directory, error)
