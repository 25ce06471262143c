"""The controller's way to its own broker: the handlers that answer on the wire, called in process."""

from collections.abc import Callable, Mapping

from pybroker.controller.channels import ControlRequest, ControlResponse
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.routes import Route
from pybroker.metadata.image import ClusterImage
from pybroker.model.ids import BrokerId
from pybroker.protocol.messages import LeaderAndIsrRequest, StopReplicaRequest, UpdateMetadataRequest


class LocalChannel:
    """A :class:`pybroker.controller.channels.BrokerChannel` that never breaks."""

    _ROUTE = {LeaderAndIsrRequest: (4, 7), StopReplicaRequest: (5, 4), UpdateMetadataRequest: (6, 8)}
    """API key and version of each order."""

    def __init__(
        self, routes: Mapping[int, Route], image: Callable[[], ClusterImage], broker_id: BrokerId
    ) -> None:
        self._routes = routes
        self._image = image
        self._connection = ConnectionState(connection_id=f"controller-{broker_id}", listener="")

    async def send(self, request: ControlRequest) -> ControlResponse:
        key, version = self._ROUTE[type(request)]
        context = RequestContext(key, version, 0, None, self._connection, self._image())
        response: ControlResponse = await self._routes[key].handler(context, request)
        return response

    async def aclose(self) -> None:
        """Nothing is open."""
