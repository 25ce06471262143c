"""What one broker has to do with the others: copying from them, the in-sync replicas, and its controller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from pybroker.app.peers import TransactionPeers, controller_peer_settings, transaction_peer_settings
from pybroker.handlers.controller_link import ControllerLink
from pybroker.model.errors import ErrorCode
from pybroker.protocol import messages
from pybroker.replication.fetchers import FetcherPort, Fetchers
from pybroker.replication.isr_changes import IsrChanges
from pybroker.replication.peer import PeerUnreachable

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.handlers.routes import Route
    from pybroker.instruments.clock import Clock, TimerQueue
    from pybroker.metadata.image import ClusterImage
    from pybroker.metadata.publisher import Publisher
    from pybroker.model.endpoint import Endpoint
    from pybroker.model.ids import BrokerEpoch, BrokerId
    from pybroker.replication.partition import Surroundings
    from pybroker.replication.replicas import Replicas
from pybroker.replication.throttle import ReplicationThrottle

logger = logging.getLogger(__name__)

CONTROLLED_SHUTDOWN_VERSION: Final = 3
LEADER_RATE: Final = "leader.replication.throttled.rate"
FOLLOWER_RATE: Final = "follower.replication.throttled.rate"


class Replication:
    """The services that replicas need. :meth:`run` is their task.

    Args:
        config: the configuration of the moment.
        broker_epoch: of this broker's registration.
        routes: this broker's own APIs, for when it is the controller itself.
    """

    def __init__(
        self,
        broker_id: BrokerId,
        config: Callable[[], BrokerConfig],
        publisher: Publisher,
        broker_epoch: Callable[[], BrokerEpoch],
        clock: Clock,
        timers: TimerQueue,
        routes: Callable[[], Mapping[int, Route]],
    ) -> None:
        at_start = config()
        listeners = at_start.listeners
        self._broker_id = broker_id
        self._config = config
        self._publisher = publisher
        self._broker_epoch = broker_epoch
        self._listener = listeners.inter_broker
        self.controller = ControllerLink(
            broker_id,
            publisher,
            listeners.control_plane or listeners.inter_broker,
            controller_peer_settings(broker_id, at_start),
            routes,
        )
        self.leader_throttle = self._throttle(LEADER_RATE, at_start, clock)
        follower_throttle = self._throttle(FOLLOWER_RATE, at_start, clock)
        self.fetchers = Fetchers(
            FetcherPort(broker_id, config, broker_epoch, self._endpoint_of, follower_throttle)
        )
        self.transaction_peers = TransactionPeers(
            transaction_peer_settings(broker_id, at_start), self._endpoint_of
        )
        self._isr_changes = IsrChanges(
            broker_id, broker_epoch, self.controller, clock, timers, at_start.replica_lag_time_max_ms
        )
        self._surroundings: Surroundings | None = None
        self._clock = clock

    def surroundings(self) -> Surroundings:
        """What every partition knows of the rest of the broker."""
        if self._surroundings is None:
            from pybroker.replication.partition import Surroundings

            self._surroundings = Surroundings(
                now_ms=self._clock.now_ms,
                max_lag_ms=self._config().replica_lag_time_max_ms,
                is_alive=lambda other: other in self._publisher.current.brokers,
                submit=self._isr_changes.submit,
            )
        return self._surroundings

    def _throttle(self, rate: str, at_start: BrokerConfig, clock: Clock) -> ReplicationThrottle:
        return ReplicationThrottle(
            lambda: self._config().replication_rate(rate),
            clock.now_ms,
            at_start.replication_quota_window_num,
            at_start.replication_quota_window_size_seconds * 1000,
        )

    def _endpoint_of(self, broker_id: BrokerId) -> Endpoint | None:
        broker = self._publisher.current.brokers.get(broker_id)
        return None if broker is None else broker.endpoint(self._listener)

    async def run(self, replicas: Replicas) -> None:
        """Copies, and keeps the in-sync replicas up to date, until cancelled."""

        def look(old: ClusterImage, new: ClusterImage) -> None:
            if old.brokers is not new.brokers:
                self._isr_changes.look_soon()

        forget = self._publisher.on_change(look)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fetchers.run)
                nursery.start_soon(self._isr_changes.run, lambda: replicas)
        finally:
            forget()
            await self.controller.aclose()
            await self.transaction_peers.aclose()

    async def hand_over(self) -> None:
        """Lets others lead what is led here, before this broker stops (``controlled.shutdown.*``). It stops
        all the same when that fails.

        Apache Kafka also waits and asks again when no other broker is left: ten seconds, in which nobody can
        take over. Here the last broker of a cluster stops at once.
        """
        config = self._config()
        if not config.controlled_shutdown_enable:
            return
        for attempt in range(config.controlled_shutdown_max_retries):
            if attempt:
                with trio.move_on_after(config.controlled_shutdown_retry_backoff_ms / 1000):
                    await self._until_alone()
            if self._is_alone(self._publisher.current) or await self._ask_for_shutdown():
                return
        logger.warning("stopping although this broker still leads partitions that have other replicas")

    def _is_alone(self, image: ClusterImage) -> bool:
        return not image.brokers.keys() - {self._broker_id}

    async def _until_alone(self) -> None:
        alone = trio.Event()

        def look(_old: ClusterImage, new: ClusterImage) -> None:
            if self._is_alone(new):
                alone.set()

        forget = self._publisher.on_change(look)
        try:
            look(self._publisher.current, self._publisher.current)
            await alone.wait()
        finally:
            forget()

    async def _ask_for_shutdown(self) -> bool:
        request = messages.ControlledShutdownRequest(
            broker_id=self._broker_id, broker_epoch=self._broker_epoch()
        )
        try:
            response = await self.controller.ask(request, CONTROLLED_SHUTDOWN_VERSION)
        except PeerUnreachable as error:
            logger.info("the controller cannot be told that this broker stops: %s", error)
            return False
        assert isinstance(response, messages.ControlledShutdownResponse)
        if response.error_code != ErrorCode.NONE:
            logger.info("the controller refuses: %s", ErrorCode(response.error_code).name)
            return False
        remaining = [f"{one.topic_name}-{one.partition_index}" for one in response.remaining_partitions]
        if remaining:
            logger.info("still leading %s", ", ".join(sorted(remaining)))
        return not remaining
