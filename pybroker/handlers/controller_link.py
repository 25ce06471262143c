"""This broker's way to its controller: over the wire, or in process when it is this one.

Source: ``NodeToControllerChannelManager`` of Kafka 3.9.
"""

from collections.abc import Callable, Mapping

import trio

from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.routes import Route
from pybroker.metadata.image import ClusterImage
from pybroker.metadata.publisher import Publisher
from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId
from pybroker.protocol.message_classes import Message
from pybroker.replication.peer import Peer, PeerSettings, PeerUnreachable, api_of


class ControllerLink:
    """A :class:`pybroker.replication.peer.ControllerPort`.

    Args:
        listener: the name of the listener that brokers use for their controller.
        routes: this broker's own APIs.
    """

    def __init__(
        self,
        broker_id: BrokerId,
        publisher: Publisher,
        listener: str,
        settings: PeerSettings,
        routes: Callable[[], Mapping[int, Route]],
    ) -> None:
        self._broker_id = broker_id
        self._publisher = publisher
        self._listener = listener
        self._settings = settings
        self._routes = routes
        self._peer: Peer | None = None
        self._connection = ConnectionState(connection_id=f"broker-{broker_id}", listener=listener)

    async def ask(self, request: Message, version: int) -> Message:
        """Its response. A controller that is not the controller any more is not waited for.

        Raises:
            PeerUnreachable: there is no controller, or it does not answer; ask again.
        """
        image = self._publisher.current
        if image.controller_id == self._broker_id:
            return await self._ask_here(request, version)
        endpoint = self._endpoint(image)
        if endpoint is None:
            raise PeerUnreachable("there is no controller")
        if self._peer is None or self._peer.endpoint != endpoint:
            await self.aclose()
            self._peer = Peer(endpoint, self._settings)
        with trio.CancelScope() as scope:

            def look(_old: ClusterImage, new: ClusterImage) -> None:
                if self._endpoint(new) != endpoint:
                    scope.cancel()

            forget = self._publisher.on_change(look)
            try:
                response: Message = await self._peer.ask(request, version)
            finally:
                forget()
            return response
        raise PeerUnreachable("another controller was elected")

    async def aclose(self) -> None:
        """Closes the connection, if there is one."""
        if self._peer is not None:
            await self._peer.aclose()

    def _endpoint(self, image: ClusterImage) -> Endpoint | None:
        controller = image.brokers.get(image.controller_id)
        return None if controller is None else controller.endpoint(self._listener)

    async def _ask_here(self, request: Message, version: int) -> Message:
        key = api_of(type(request)).key
        context = RequestContext(key, version, 0, None, self._connection, self._publisher.current)
        try:
            response: Message = await self._routes()[key].handler(context, request)
        except ApiError as error:
            raise PeerUnreachable(f"the controller says {ErrorCode(error.code).name}") from error
        return response
