"""Bytes that are no request: unknown APIs and versions, wrong lengths, cut headers."""

import struct

from interop.differential.scenarios.world import World
from interop.differential.wire import framed
from pybroker.protocol.apis import api_by_key

BEYOND = (93, 94, 127, 1000, 32767, -1, -32768)
_HEADER = struct.Struct(">hhih")


def broken(world: World) -> None:
    """Each on a connection of its own; both must close it, or answer alike."""
    ask = world.pair.ask_raw
    for key in BEYOND:
        ask(f"API {key}", framed(_HEADER.pack(key, 0, 7, -1)))
    for key, versions in sorted(world.pair.versions.items()):
        highest = max(versions[-1], api_by_key[key].versions[1])
        for version in (highest + 1, 32767, -1):
            ask(f"API {key} version {version}", framed(_HEADER.pack(key, version, 7, -1) + bytes(8)))
    for size in range(9):
        ask(f"a header of {size} bytes", framed(_HEADER.pack(18, 0, 7, -1)[:size]))
    for length in (-1, -(2**31), 2**31 - 1, 200_000_000):
        ask(f"length {length}", struct.pack(">i", length) + bytes(20), is_complete=False)
    ask("client id longer than the frame", framed(_HEADER.pack(18, 0, 7, 100) + b"abc"))
    ask("client id of length -2", framed(_HEADER.pack(18, 0, 7, -2)))
    ask("client id that is not UTF-8", framed(_HEADER.pack(18, 0, 7, 3) + b"\xff\xfe\xfd"))
    ask("header tag section without end", framed(_HEADER.pack(18, 3, 7, -1) + b"\xff\xff\xff\xff\xff\xff"))
    ask("half a frame", framed(_HEADER.pack(18, 0, 7, -1))[:9], is_complete=False)
    ask("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", is_complete=False)
