"""How this broker speaks to others, by what it speaks to them for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pybroker.config.broker import BrokerConfig
from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId
from pybroker.protocol.message_classes import Message
from pybroker.replication.peer import Peer, PeerSettings, PeerUnreachable


def controller_peer_settings(broker_id: BrokerId, config: BrokerConfig) -> PeerSettings:
    """A controller to the brokers, and a broker to its controller."""
    return PeerSettings(
        client_id=str(broker_id),
        request_timeout_s=config.controller_socket_timeout_ms / 1000,
        connect_timeout_s=config.socket_connection_setup_timeout_ms / 1000,
    )


def transaction_peer_settings(broker_id: BrokerId, config: BrokerConfig) -> PeerSettings:
    """A transaction coordinator to leaders of partitions, and they to it."""
    return PeerSettings(
        client_id=str(broker_id),
        request_timeout_s=config.request_timeout_ms / 1000,
        connect_timeout_s=config.socket_connection_setup_timeout_ms / 1000,
    )


class TransactionPeers:
    """Other brokers, as transactions need them: the ``OtherBrokers`` of ``coordination/runtime/markers.py``.

    A connection for each kind of request, so that none waits for replicas that another one waits for.

    Args:
        endpoint_of: where a broker listens for brokers; None while it is not there.
    """

    def __init__(self, settings: PeerSettings, endpoint_of: Callable[[BrokerId], Endpoint | None]) -> None:
        self._settings = settings
        self._endpoint_of = endpoint_of
        self._peers: dict[tuple[BrokerId, type[Message]], Peer] = {}

    async def ask(self, broker_id: BrokerId, request: Message) -> Any:
        """The response to a request.

        Raises:
            ApiError: NETWORK_EXCEPTION, there was none.
        """
        kind = type(request)
        try:
            peer = await self._peer(broker_id, kind)
            return await peer.ask(request, await peer.negotiated(kind))
        except PeerUnreachable as error:
            raise ApiError(ErrorCode.NETWORK_EXCEPTION, str(error)) from error

    async def _peer(self, broker_id: BrokerId, kind: type[Message]) -> Peer:
        endpoint = self._endpoint_of(broker_id)
        if endpoint is None:
            raise PeerUnreachable(f"broker {broker_id} is not there")
        peer = self._peers.get((broker_id, kind))
        if peer is None or peer.endpoint != endpoint:
            if peer is not None:
                await peer.aclose()
            peer = self._peers[broker_id, kind] = Peer(endpoint, self._settings)
        return peer

    async def aclose(self) -> None:
        """Closes all connections."""
        for peer in self._peers.values():
            await peer.aclose()
