"""The handlers that answer on the wire, called in process: by this broker's own controller, and by tests."""

from collections.abc import Callable, Mapping
from typing import Any

from pybroker.controller.channels import ControlRequest, ControlResponse, version_of
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.routes import Route
from pybroker.metadata.image import ClusterImage
from pybroker.protocol.message_classes import Message
from pybroker.replication.peer import api_of


class LocalClient:
    """Asks one broker's handlers. Instruments do not see it, and errors come as they are raised.

    Args:
        listener: addresses in answers are those of this listener.
    """

    def __init__(
        self,
        routes: Mapping[int, Route],
        image: Callable[[], ClusterImage],
        connection_id: str,
        listener: str = "",
    ) -> None:
        self._routes = routes
        self._image = image
        self._connection = ConnectionState(connection_id=connection_id, listener=listener)

    async def ask(self, request: Message, version: int | None = None) -> Any:
        """The response, in the highest version that is served unless one is given."""
        route = self._routes[api_of(type(request)).key]
        version = route.max_version if version is None else version
        context = RequestContext(route.key, version, 0, None, self._connection, self._image())
        return await route.handler(context, request)


class LocalChannel(LocalClient):
    """A :class:`pybroker.controller.channels.BrokerChannel` that never breaks."""

    async def send(self, request: ControlRequest) -> ControlResponse:
        response: ControlResponse = await self.ask(request, version_of(request))
        return response

    async def aclose(self) -> None:
        """Nothing is open."""
