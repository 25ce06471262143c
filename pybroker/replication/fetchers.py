"""Who copies from which leader: one fetcher per leader, or several by ``num.replica.fetchers``.

Source: ``ReplicaFetcherManager`` of Kafka 3.9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from pybroker.model.ids import BrokerEpoch, BrokerId, TopicPartition
from pybroker.model.values import Value

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.model.endpoint import Endpoint
    from pybroker.replication.fetcher import Fetcher
    from pybroker.replication.partition import Partition
    from pybroker.replication.throttle import ReplicationThrottle


class FetcherPort(Value):
    """What fetchers know of the rest of the broker.

    Attributes:
        config: the configuration of the moment.
        broker_epoch: of this broker's registration.
        endpoint_of: where another broker listens for brokers, None while it is not known.
        throttle: of what throttled replicas copy.
    """

    broker_id: BrokerId
    config: Callable[[], BrokerConfig]
    broker_epoch: Callable[[], BrokerEpoch]
    endpoint_of: Callable[[BrokerId], Endpoint | None]
    throttle: ReplicationThrottle


class Fetchers:
    """All fetchers of a broker. :meth:`run` is their task."""

    def __init__(self, port: FetcherPort) -> None:
        self._port = port
        self._nursery: trio.Nursery | None = None
        self._fetchers: dict[tuple[BrokerId, int], Fetcher] = {}
        self._fetcher_of: dict[TopicPartition, Fetcher] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Copies until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for fetcher in self._fetchers.values():
                self._nursery.start_soon(self._run_fetcher, fetcher)
            task_status.started()
            await trio.sleep_forever()

    def follow(self, partition: Partition, leader: BrokerId) -> None:
        """Copy a partition, which has just been told its leader and its epoch, from now on."""
        tp = partition.tp
        number = hash(tp) % max(1, self._port.config().num_replica_fetchers)
        fetcher = self._fetchers.get((leader, number)) or self._new_fetcher(leader, number)
        if self._fetcher_of.get(tp) is not fetcher:
            self.unfollow(tp)
            self._fetcher_of[tp] = fetcher
        fetcher.add(partition)

    def unfollow(self, tp: TopicPartition) -> None:
        """Copy a partition no more. Nothing is appended to it by a fetcher once this returns."""
        fetcher = self._fetcher_of.pop(tp, None)
        if fetcher is not None:
            fetcher.remove(tp)

    def _new_fetcher(self, leader: BrokerId, number: int) -> Fetcher:
        from pybroker.replication.fetcher import Fetcher

        fetcher = self._fetchers[leader, number] = Fetcher(self._port, leader, number)
        if self._nursery is not None:
            self._nursery.start_soon(self._run_fetcher, fetcher)
        return fetcher

    async def _run_fetcher(self, fetcher: Fetcher) -> None:
        try:
            while not await fetcher.run():
                await trio.sleep(self._port.config().replica_fetch_backoff_ms / 1000)
        finally:
            self._fetchers.pop(fetcher.key, None)
