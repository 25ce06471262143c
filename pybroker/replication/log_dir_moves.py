"""Moving replicas between the log directories of this broker, while they are written and read.

A move copies the log into a ``-future`` directory piece by piece, and puts the copy in the log's place at a
moment when both end at the same offset. What is under way at a stop goes on after the next start.
Source: ``ReplicaManager.alterReplicaLogDirs`` and ``ReplicaAlterLogDirsThread`` of Kafka 3.9 (KIP-113).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from msgspec import field

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.values import State
from pybroker.replication.disk import flush
from pybroker.replication.storage_errors import api_error
from pybroker.storage import names
from pybroker.storage.errors import CorruptRecords, DiskFull, LogDirFailed, StorageError
from pybroker.storage.handles import FileSlice

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.instruments.clock import Clock, TimerQueue
    from pybroker.model.ids import TopicPartition
    from pybroker.replication.partition import Partition
    from pybroker.replication.replicas import Replicas
    from pybroker.storage.context import StorageContext
    from pybroker.storage.log import Log
    from pybroker.storage.log_copy import LogCopy
    from pybroker.storage.log_manager import LogManager

logger = logging.getLogger(__name__)

THROTTLE = "replica.alter.log.dirs.io.max.bytes.per.second"
FLUSHES_BEHIND = 4
"""So often the copy is synced in a thread before the rest is, shortly, on this one."""
SMALL_REST_BYTES = 1 << 20
PACE_STEP_MS = 1000
"""How soon a changed throttle is obeyed."""


class LogDirMoves(State, eq=False):
    """The moves of one broker; :meth:`run` never returns."""

    config: Callable[[], BrokerConfig]
    clock: Clock
    timers: TimerQueue
    storage: StorageContext
    logs: LogManager
    replicas: Replicas
    _waiting: dict[TopicPartition, Log] = field(default_factory=dict)
    _copying: dict[TopicPartition, Log] = field(default_factory=dict)
    _news: trio.Event = field(default_factory=trio.Event)
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _ended: trio.Event = field(default_factory=trio.Event)
    _ahead_bytes: float = 0.0
    _paced_ms: int = 0

    def order(self, tp: TopicPartition, log_dir: str) -> None:
        """Begin to move a replica to a directory; to the one where it is ends a move that is under way.

        Raises:
            ApiError: LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR when the directory or the replica is offline,
                INVALID_TOPIC_EXCEPTION for a name that leaves no room for the suffix, REPLICA_NOT_AVAILABLE
                when there is no such replica: it will be made there if it ever comes.
        """
        if len(names.renamed_directory(tp, names.DirectoryKind.FUTURE)) > names.MAX_NAME_BYTES:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"the name of topic {tp.topic} is too long")
        if log_dir not in self.logs.dirs:
            raise ApiError(ErrorCode.LOG_DIR_NOT_FOUND, f"{log_dir} is not in log.dirs")
        if log_dir not in self.logs.online_dirs():
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"log directory {log_dir} is offline")
        if self.replicas.is_offline(tp):
            raise ApiError(ErrorCode.KAFKA_STORAGE_ERROR, f"{tp} is in an offline log directory")
        try:
            self._order(tp, log_dir)
        except StorageError as error:
            raise api_error(error) from error

    def _order(self, tp: TopicPartition, log_dir: str) -> None:
        future = self.logs.future(tp)
        if future is not None and future.log_dir != log_dir:
            logger.info("%s: the move to %s is given up", tp, future.log_dir)
            self.logs.drop_future(tp)
            future = None
        self.logs.prefer(tp, log_dir)
        partition = self.replicas.find(tp)
        if partition is None:
            raise ApiError(ErrorCode.REPLICA_NOT_AVAILABLE, f"{tp} has no replica here")
        if future is None and partition.log.log_dir != log_dir:
            self.logs.create_future(tp, log_dir)
            self.resume(partition)

    def resume(self, partition: Partition) -> None:
        """Go on with a move, if there is one, of a replica that is served from now on."""
        tp = partition.tp
        future = self.logs.future(tp)
        if future is not None and self._copying.get(tp) is not future:
            self._waiting[tp] = future
            self._news.set()

    async def run(self) -> None:
        """Copies, one replica at a time in each of ``num.replica.alter.log.dirs.threads`` tasks."""
        workers = self.config().num_replica_alter_log_dirs_threads or len(self.logs.dirs)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(workers):
                        nursery.start_soon(self._work)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """No log is touched any more when it returns. :meth:`run` must have begun."""
        self._scope.cancel()
        await self._ended.wait()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._news = trio.Event()
                await self._news.wait()
            tp = next(iter(self._waiting))
            future = self._copying[tp] = self._waiting.pop(tp)
            try:
                await self._move(tp, future)
            except StorageError as error:
                logger.error("%s cannot be moved to %s: %s", tp, future.log_dir, error)
            finally:
                if self._copying.get(tp) is future:
                    del self._copying[tp]

    async def _move(self, tp: TopicPartition, future: Log) -> None:
        partition = self.replicas.find(tp)
        if partition is None:
            return
        from pybroker.storage.log_copy import LogCopy

        copy = LogCopy(partition.log, future)
        logger.info("moving %s from %s to %s", tp, copy.source.log_dir, future.log_dir)
        while self._is_wanted(partition, copy):
            try:
                if await self._advance(partition, copy):
                    logger.info("%s is in %s now", tp, future.log_dir)
                    return
            except (CorruptRecords, DiskFull) as error:
                logger.error("moving %s to %s: %s", tp, future.log_dir, error)
                await trio.sleep(self.config().replica_fetch_backoff_ms / 1000)

    def _is_wanted(self, partition: Partition, copy: LogCopy) -> bool:
        """Whether it is still this copy that is to replace this log."""
        tp = partition.tp
        return (
            self.replicas.find(tp) is partition
            and partition.log is copy.source
            and self.logs.future(tp) is copy.copy
        )

    async def _advance(self, partition: Partition, copy: LogCopy) -> bool:
        """Catches up and ends the move; False when it has to be looked at anew."""
        rest = SMALL_REST_BYTES + 1
        flushes = 0
        while True:
            copy.follow()
            if copy.is_complete:
                if rest <= SMALL_REST_BYTES or flushes == FLUSHES_BEHIND:
                    partition.replace_log(self.logs.replace_with_future(partition.tp))
                    return True
                rest, flushes = 0, flushes + 1
                await flush(copy.copy)
            else:
                piece = await self._next_piece(copy)
                if not self._is_wanted(partition, copy):
                    return False
                if piece and not copy.was_cut:
                    copy.take(piece)
                rest += len(piece)
                await self._pace(len(piece))
            if not self._is_wanted(partition, copy):
                return False

    async def _next_piece(self, copy: LogCopy) -> bytes:
        read = copy.next_piece()
        if read.slice is None:
            raise CorruptRecords(f"there is nothing at offset {read.first_offset}")
        try:
            # The end of the log was written just now; what lies before may have to come from the disk.
            if read.end_offset >= copy.source.log_end_offset:
                return read.slice.read()
            return await trio.to_thread.run_sync(FileSlice.read, read.slice)
        except OSError as error:
            self.storage.on_failure(copy.source.log_dir, error)
            raise LogDirFailed(copy.source.log_dir, error) from error
        finally:
            read.slice.release()

    async def _pace(self, size: int) -> None:
        """Waits as long as the throttle asks for, all moves together."""
        self._ahead_bytes += size
        while True:
            rate = self.config().replication_rate(THROTTLE)
            now_ms = self.clock.now_ms()
            passed_ms = max(0, now_ms - self._paced_ms)
            self._paced_ms = now_ms
            self._ahead_bytes = max(0.0, self._ahead_bytes - rate * passed_ms / 1000)
            wait_ms = self._ahead_bytes * 1000 / max(1, rate)
            if wait_ms < 1:
                await trio.lowlevel.checkpoint()
                return
            due = trio.Event()
            timer = self.timers.schedule("log dir move", now_ms + min(PACE_STEP_MS, int(wait_ms)), due.set)
            try:
                await due.wait()
            finally:
                timer.cancel()
