"""Several whole brokers in one process, with one embedded store between them that outlives them all."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from msgspec import field

from pybroker.app import Broker
from pybroker.config.broker import BrokerConfig
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.instruments.timer_task import run_timers
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.model.values import State
from pybroker.replication.partition import Partition

LOOK_EVERY_S = 0.01
DEFAULTS = {
    "listeners": "PLAINTEXT://127.0.0.1:0",
    "zookeeper.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "3",
    "group.initial.rebalance.delay.ms": "0",
    "replica.fetch.backoff.ms": "50",
    "controlled.shutdown.retry.backoff.ms": "50",
    "auto.leader.rebalance.enable": "false",
}


class Cluster(State, eq=False):
    """Brokers by id. Each has its own folder, in which it finds its logs again."""

    folder: Path
    store: EmbeddedStore
    overrides: Mapping[str, str]
    nursery: trio.Nursery
    brokers: dict[BrokerId, Broker] = field(default_factory=dict)
    _scopes: dict[BrokerId, trio.CancelScope] = field(default_factory=dict)
    _ended: dict[BrokerId, trio.Event] = field(default_factory=dict)

    def __getitem__(self, broker_id: BrokerId) -> Broker:
        return self.brokers[broker_id]

    async def start(self, broker_id: BrokerId, overrides: Mapping[str, str] | None = None) -> Broker:
        """Starts a broker, on the data that an earlier one of that id has left."""
        properties = {
            **DEFAULTS,
            "broker.id": str(broker_id),
            "log.dirs": str(self.folder / f"broker-{broker_id}"),
            **self.overrides,
            **(overrides or {}),
        }
        broker = Broker(BrokerConfig.from_properties(properties), store=self.store)
        self._scopes[broker_id] = trio.CancelScope()
        self._ended[broker_id] = trio.Event()
        await self.nursery.start(self._run, broker_id, broker)
        self.brokers[broker_id] = broker
        return broker

    async def _run(
        self,
        broker_id: BrokerId,
        broker: Broker,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with self._scopes[broker_id]:
                await broker.run(task_status=task_status)
        finally:
            self._ended[broker_id].set()

    async def stop(self, broker_id: BrokerId) -> None:
        """A stop in good order."""
        await self.brokers.pop(broker_id).stop()
        await self._ended[broker_id].wait()

    async def kill(self, broker_id: BrokerId) -> None:
        """A power cut. The broker's registration stands until its session has expired."""
        self.brokers.pop(broker_id)
        self._scopes[broker_id].cancel()
        await self._ended[broker_id].wait()

    @property
    def controller(self) -> Broker:
        """The broker that holds the office."""
        (active,) = [
            broker for broker in self.brokers.values() if broker.image.controller_id == broker.broker_id
        ]
        return active

    def replica(self, tp: TopicPartition, broker_id: BrokerId) -> Partition:
        """A partition as a broker hosts it."""
        found = self.brokers[broker_id].replicas.find(tp)
        assert found is not None
        return found

    def leader_id(self, tp: TopicPartition) -> BrokerId | None:
        """Who leads a partition, if somebody who is up believes that he does."""
        for broker in self.brokers.values():
            partition = broker.replicas.find(tp)
            if partition is not None and partition.is_leader:
                return broker.broker_id
        return None

    async def until(self, is_so: Callable[[], bool], within_s: float = 20) -> None:
        """Waits for something that brokers bring about in their own time."""
        with trio.fail_after(within_s):
            while not is_so():
                await trio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def running_cluster(
    folder: Path, overrides: Mapping[str, str] | None = None, *, size: int = 3
) -> AsyncIterator[Cluster]:
    """``size`` brokers with the ids from 0 on. Those that are up at the end are stopped in good order."""
    clock, timers = Clock(), TimerQueue()
    store = EmbeddedStore.open(folder / "metadata", now_ms=clock.now_ms, timers=timers)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_timers, clock, timers)
            nursery.start_soon(store.run)
            cluster = Cluster(folder, store, overrides or {}, nursery)
            for broker_id in range(size):
                await cluster.start(broker_id)
            try:
                yield cluster
            finally:
                with trio.CancelScope(shield=True):
                    for broker_id in list(cluster.brokers):
                        await cluster.stop(broker_id)
                nursery.cancel_scope.cancel()
    finally:
        await store.close()
