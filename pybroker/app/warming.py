"""What a start leaves for later, and makes ready in the background once the port is open.

A node that hosts no partition yet serves without what partitions, groups and transactions are made of: the
modules below are imported by the functions that first need them, and everywhere else by type checkers only.
Whoever hosts partitions imports what these need while it loads them.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module

import trio

from pybroker.handlers.late import LateHandler
from pybroker.handlers.routes import Route
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decoder, import_generators, is_kept, parts_encoder
from pybroker.protocol.messages import RequestHeader

FOR_CODECS = ("pickle", "pdb", "construct")
LATE = (
    # What a library brings along goes before it, so that no step is long.
    *("email.message", "importlib.metadata", "concurrent.futures.thread", "crc32c"),
    "pybroker.records.header",
    "pybroker.records.validation",
    "pybroker.storage.segments",
    "pybroker.storage.log",
    "pybroker.replication.partition",
    "pybroker.storage.loader",
    "pybroker.controller.topics_admin",
    "pybroker.coordination.fetch_sessions",
    "pybroker.coordination.group.calls",
    "pybroker.coordination.group.group",
    "pybroker.coordination.group.consumer.rules",
    "pybroker.coordination.group.commits",
    "pybroker.coordination.group.consumer.group",
    "pybroker.coordination.group.consumer.offsets",
    "pybroker.coordination.group.consumer.coordinator",
    "pybroker.coordination.group.shard",
    "pybroker.coordination.runtime.partition_log",
    "pybroker.coordination.runtime.loading",
    "pybroker.coordination.transaction.calls",
    "pybroker.coordination.transaction.storing",
    "pybroker.coordination.transaction.shard",
    "pybroker.records.builder",
    "pybroker.controller.configs_admin",
    "pybroker.replication.cleaner",
    "pybroker.replication.fetcher",
)
"""In the order in which clients are likely to need them."""

_FIRST = ((18, 3), (3, 12))
_HOT = ((0, 9), (0, 10), (1, 11), (1, 16), (22, 4), (2, 7), (10, 4), (8, 9), (12, 4))
"""API keys and versions that today's clients go on with, after those with which they begin."""


HEAD_START_S = 0.05
"""What a client that waited for the port may need until it has its first answer."""


async def warm(routes: Mapping[int, Route]) -> None:
    """Imports what is late, and makes the handlers and codecs of the hottest messages; one in a turn.

    A client may be waiting for its first answer: what that takes goes first. With codecs of an earlier start
    it takes nothing of this.
    """
    if _has_first_codecs():
        await trio.sleep(HEAD_START_S)
    await _import(FOR_CODECS)
    for _ in import_generators():
        await trio.lowlevel.checkpoint()
    await _make(routes, _FIRST)
    await _import(LATE)
    await _make(routes, _HOT)


def _has_first_codecs() -> bool:
    apis = [(api_by_key[key], version) for key, version in _FIRST]
    return all(is_kept(api.request, version) for api, version in apis)


def keep_codecs() -> None:
    """Makes, and so keeps, what clients begin with: for an image, whose containers cannot keep anything."""
    for version in (1, 2):
        decoder(RequestHeader, version)
    for key, version in (*_FIRST, *_HOT):
        decoder(api_by_key[key].request, version)
        parts_encoder(api_by_key[key].response, version)


async def _import(names: Iterable[str]) -> None:
    for name in names:
        import_module(name)
        await trio.lowlevel.checkpoint()


async def _make(routes: Mapping[int, Route], hot: Iterable[tuple[int, int]]) -> None:
    for key, version in hot:
        handler = routes[key].handler
        if isinstance(handler, LateHandler):
            handler.made()
            await trio.lowlevel.checkpoint()
        api = api_by_key[key]
        decoder(api.request, version)
        await trio.lowlevel.checkpoint()
        parts_encoder(api.response, version)
        await trio.lowlevel.checkpoint()
