"""Requests for seams, without a broker behind them."""

from typing import Any

from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.instruments.seams import Around
from pybroker.metadata.image import ClusterImage
from pybroker.protocol.message_classes import Message

TOPIC_ID = bytes(range(16))
IMAGE = ClusterImage(topic_names_by_id={TOPIC_ID: "orders"})
CLOSED = "closed"


class Client:
    """Asks through a seam; ``handled`` are the requests that came out behind it."""

    def __init__(self, seam: Around, client_id: str = "me", connection: str = "c-1") -> None:
        self.handled: list[Any] = []
        self._seam = seam
        self._client_id = client_id
        self._connection = ConnectionState(connection_id=connection, listener="PLAINTEXT")

    async def ask(self, key: int, version: int, request: Message, response: Any) -> Any:
        """What is sent, when a handler would answer ``response``."""

        async def answer(wanted: Any) -> Any:
            self.handled.append(wanted)
            return response

        context = RequestContext(key, version, 1, self._client_id, self._connection, IMAGE)
        return await self._seam(context, request, answer)
