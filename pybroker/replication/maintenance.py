"""The regular work on the logs: flushing, checkpoints, retention, and removing what was deleted.

Each job is a loop of its own on broker time, so that a frozen clock stops it and an advanced one sets it off.
Blocking calls (fsync, unlink) run in threads; everything else is short.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio
from msgspec import field

from pybroker.model.values import Value
from pybroker.replication.disk import flush
from pybroker.storage.errors import StorageError

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.instruments.clock import Clock, TimerQueue
    from pybroker.model.ids import Offset, TopicPartition
    from pybroker.replication.cleaner import LogCleaner
    from pybroker.replication.replicas import Replicas
    from pybroker.storage.context import StorageContext
    from pybroker.storage.log import Log
    from pybroker.storage.log_manager import LogManager

logger = logging.getLogger(__name__)

SEALED_INTERVAL_MS = 1000
TRASH_INTERVAL_MS = 1000
PRODUCER_EXPIRY_INTERVAL_MS = 600_000


class Maintenance(Value):
    """The jobs of one broker; :meth:`run` never returns.

    Attributes:
        cleaner: always the same one; it is asked for when it is time to clean.
    """

    config: BrokerConfig
    clock: Clock
    timers: TimerQueue
    storage: StorageContext
    logs: LogManager
    replicas: Replicas
    cleaner: Callable[[], LogCleaner]
    at_work: list[str] = field(default_factory=list)
    """The kinds of the jobs that run at this moment."""

    async def run(self) -> None:
        config = self.config
        jobs: tuple[tuple[str, int, Callable[[], Awaitable[None]]], ...] = (
            ("flush", config.log_flush_scheduler_interval_ms, self.flush),
            ("flush of sealed segments", SEALED_INTERVAL_MS, self.flush_sealed),
            ("retention", config.log_retention_check_interval_ms, self.apply_retention),
            ("checkpoint", config.log_flush_offset_checkpoint_interval_ms, self.checkpoint),
            (
                "high watermark checkpoint",
                config.replica_high_watermark_checkpoint_interval_ms,
                self.checkpoint_high_watermarks,
            ),
            ("trash", TRASH_INTERVAL_MS, self.empty_trash),
            ("producer expiry", PRODUCER_EXPIRY_INTERVAL_MS, self.expire_producers),
        )
        if config.log_cleaner_enable:
            clean = ("clean", config.log_cleaner_backoff_ms, self.clean)
            jobs += (clean,) * config.log_cleaner_threads
        async with trio.open_nursery() as nursery:
            for kind, interval_ms, job in jobs:
                nursery.start_soon(self._repeat, kind, interval_ms, job)

    async def _repeat(self, kind: str, interval_ms: int, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            due = trio.Event()
            self.timers.schedule(kind, self.clock.now_ms() + interval_ms, due.set)
            await due.wait()
            self.at_work.append(kind)
            try:
                await job()
            except StorageError as error:
                logger.error("%s: %s", kind, error)
            finally:
                self.at_work.remove(kind)

    async def clean(self) -> None:
        """Clean what is dirty of compacted topics."""
        await self.cleaner().run_round()

    async def flush(self) -> None:
        """Make logs durable whose ``flush.ms`` is over."""
        for log in self.logs.logs_to_flush(self.clock.now_ms()):
            await self._flush(log, log.log_end_offset)

    async def flush_sealed(self) -> None:
        """Make durable what was sealed since the last time."""
        for log in self.logs.take_sealed():
            await self._flush(log, log.segments.active.base_offset)

    async def _flush(self, log: Log, up_to: Offset) -> None:
        try:
            await flush(log, up_to)
        except StorageError as error:
            logger.error("flush of %s: %s", log.topic_partition, error)

    async def apply_retention(self) -> None:
        """Delete old segments by time, size and log start offset; never beyond the high watermark."""
        for partition in list(self.replicas):
            try:
                deleted, reason = partition.log.apply_retention(partition.high_watermark)
            except StorageError as error:
                # Others still have something to give up: on a full disk that is what makes room.
                logger.error("retention of %s: %s", partition.tp, error)
                continue
            finally:
                await trio.lowlevel.checkpoint()
            if deleted:
                logger.info("%s: deleted %d segments: %s", partition.tp, deleted, reason)

    async def checkpoint(self) -> None:
        """Write recovery points and log start offsets."""
        self.logs.checkpoint()

    async def checkpoint_high_watermarks(self) -> None:
        """Write the high watermarks."""
        self.logs.checkpoint_high_watermarks(self.high_watermarks())

    def high_watermarks(self) -> dict[TopicPartition, Offset]:
        return {partition.tp: partition.high_watermark for partition in self.replicas}

    async def empty_trash(self) -> None:
        """Remove deleted segments and partitions whose delay is over."""
        for path in self.storage.trash.take_due(self.clock.now_ms()):
            try:
                await trio.to_thread.run_sync(self.logs.remove_path, path)
            except OSError as error:
                self.logs.path_failed(path, error)

    async def expire_producers(self) -> None:
        """Forget idempotent producers that have been silent for ``producer.id.expiration.ms``."""
        for partition in list(self.replicas):
            partition.log.remove_expired_producers()
            await trio.lowlevel.checkpoint()
