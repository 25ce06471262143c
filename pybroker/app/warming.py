"""What a start leaves for later: the codecs and handlers that clients begin with."""

from collections.abc import Mapping

import trio

from pybroker.handlers.late import LateHandler
from pybroker.handlers.routes import Route
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decoder, import_generators, parts_encoder

_HOT = ((18, 3), (3, 12), (0, 9), (0, 10), (1, 11), (1, 16), (22, 4), (2, 7), (10, 4), (8, 9), (12, 4))
"""API keys and versions that today's clients begin with."""


async def warm_codecs(routes: Mapping[int, Route]) -> None:
    """Makes the handlers and the codecs of the hottest messages after the port is open, one in a turn."""
    for _ in import_generators():
        await trio.lowlevel.checkpoint()
    for key, version in _HOT:
        handler = routes[key].handler
        if isinstance(handler, LateHandler):
            handler.made()
            await trio.lowlevel.checkpoint()
        api = api_by_key[key]
        decoder(api.request, version)
        await trio.lowlevel.checkpoint()
        parts_encoder(api.response, version)
        await trio.lowlevel.checkpoint()
