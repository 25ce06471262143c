"""The controller's way to its own broker: the handlers that answer on the wire, called in process."""

from collections.abc import Callable, Mapping

from pybroker.controller.channels import VERSION_OF, ControlRequest, ControlResponse
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.routes import Route
from pybroker.metadata.image import ClusterImage
from pybroker.model.ids import BrokerId
from pybroker.replication.peer import api_of


class LocalChannel:
    """A :class:`pybroker.controller.channels.BrokerChannel` that never breaks."""

    def __init__(
        self, routes: Mapping[int, Route], image: Callable[[], ClusterImage], broker_id: BrokerId
    ) -> None:
        self._routes = routes
        self._image = image
        self._connection = ConnectionState(connection_id=f"controller-{broker_id}", listener="")

    async def send(self, request: ControlRequest) -> ControlResponse:
        key = api_of(type(request)).key
        context = RequestContext(key, VERSION_OF[type(request)], 0, None, self._connection, self._image())
        response: ControlResponse = await self._routes[key].handler(context, request)
        return response

    async def aclose(self) -> None:
        """Nothing is open."""
