"""The controller's way to another broker: its listener for brokers, over the wire."""

from pybroker.controller.channels import ChannelBroken, ControlRequest, ControlResponse, version_of
from pybroker.metadata.znodes import BrokerIdZNode
from pybroker.replication.peer import Peer, PeerSettings, PeerUnreachable


class RemoteChannel:
    """A :class:`pybroker.controller.channels.BrokerChannel` over the wire.

    Args:
        broker: as it has registered; when it registers anew there is a new channel.
        listener: the name of the listener that controllers use.
    """

    def __init__(self, broker: BrokerIdZNode, listener: str, settings: PeerSettings) -> None:
        self._broker_id = broker.broker_id
        self._listener = listener
        endpoints = [endpoint for endpoint in broker.endpoints if endpoint.listener == listener]
        self._peer = Peer(endpoints[0], settings) if endpoints else None

    async def send(self, request: ControlRequest) -> ControlResponse:
        if self._peer is None:
            raise ChannelBroken(f"broker {self._broker_id} has no listener {self._listener}")
        try:
            response: ControlResponse = await self._peer.ask(request, version_of(request))
        except PeerUnreachable as error:
            raise ChannelBroken(str(error)) from error
        return response

    async def aclose(self) -> None:
        if self._peer is not None:
            await self._peer.aclose()
