"""A broker's place in its cluster: its registration, the epoch that comes with it, and being known by it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from pybroker.app.features import supported_features
from pybroker.metadata import registration
from pybroker.metadata.znodes import BrokerIdZNode

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.instruments.clock import Clock
    from pybroker.metadata.image import ClusterImage
    from pybroker.metadata.publisher import Publisher
    from pybroker.metadata.store import Store
    from pybroker.model.ids import BrokerEpoch, BrokerId


class Registrar:
    """Registers one broker, again after every lost session.

    Attributes:
        broker_epoch: of the latest registration; -1 before the first.
    """

    def __init__(self, config: Callable[[], BrokerConfig], publisher: Publisher, clock: Clock) -> None:
        self.broker_epoch: BrokerEpoch = -1
        self._config = config
        self._publisher = publisher
        self._clock = clock
        self._sessions: tuple[int, ...] = ()

    async def register(self, session: Store, broker_id: BrokerId, ports: Mapping[str, int]) -> None:
        """Makes the broker's node, with ``ports`` by listener where the configuration names none. What an
        earlier session of its own has left is replaced.

        Raises:
            RegistrationConflict: another broker has the id or an address.
            StoreError: the metadata cannot be used.
        """
        config = self._config()
        listeners = config.listeners
        hostname = await trio.to_thread.run_sync(socket.getfqdn) if listeners.needs_hostname else ""
        node = BrokerIdZNode(
            broker_id,
            listeners.resolve_advertised(ports, hostname),
            rack=config.broker_rack,
            features=supported_features(config),
            timestamp_ms=self._clock.now_ms(),
        )
        earlier = self._sessions
        self._sessions = (*earlier, session.session_id)
        self.broker_epoch = await registration.register(session, node, previous_sessions=earlier)

    async def until_known(self, broker_id: BrokerId) -> None:
        """Waits until the image has this broker and a controller."""
        known = trio.Event()

        def look(_old: ClusterImage, new: ClusterImage) -> None:
            if broker_id in new.brokers and new.controller_id >= 0:
                known.set()

        look(self._publisher.current, self._publisher.current)
        forget = self._publisher.on_change(look)
        try:
            await known.wait()
        finally:
            forget()
