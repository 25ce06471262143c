"""The links between brokers, which can be cut: a proxy in front of each broker's listener for brokers.

A proxy learns who calls from the client id in the first request. On a cut link nothing gets through any more,
and nobody is told; when it is mended, the connections that were stalled are closed.
"""

import asyncio
import contextlib
import re
import struct
import threading
from collections.abc import Iterable, Mapping

from interop.support.process import LOCALHOST, free_port

CHUNK_BYTES = 64 * 1024
_FIRST = struct.Struct(">ihhih")
"""Size, API key, version, correlation id, length of the client id."""

_CALLER = re.compile(rb"^(?:broker-)?(\d+)(?:-|$)")


class Links:
    """Proxies for some brokers, in a thread of their own.

    Args:
        targets: the real port of each broker's listener for brokers.
    """

    def __init__(self, targets: Mapping[int, int]) -> None:
        self.ports = {broker_id: free_port() for broker_id in targets}
        self._targets = dict(targets)
        self._cut: set[frozenset[int]] = set()
        self._mended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self, one: int, other: int) -> None:
        """Nothing gets through between two brokers, in either direction."""
        self._loop.call_soon_threadsafe(self._cut.add, frozenset((one, other)))

    def mend(self) -> None:
        """All links are whole again."""
        self._loop.call_soon_threadsafe(self._mend)

    def _mend(self) -> None:
        self._cut.clear()
        self._mended.set()
        self._mended = asyncio.Event()

    async def _listen(self) -> None:
        for broker_id, port in self.ports.items():
            await asyncio.start_server(
                lambda reader, writer, broker_id=broker_id: self._serve(broker_id, reader, writer),
                LOCALHOST,
                port,
            )

    async def _serve(
        self, broker_id: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readexactly(_FIRST.size)
            name = await reader.readexactly(max(0, _FIRST.unpack(head)[-1]))
            found = _CALLER.match(name)
            link = frozenset((broker_id, int(found[1]) if found else -1))
            if link in self._cut:
                await self._mended.wait()
            else:
                await self._connect(link, broker_id, head + name, reader, writer)
        writer.close()

    async def _connect(
        self,
        link: frozenset[int],
        broker_id: int,
        first: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        there_reader, there_writer = await asyncio.open_connection(LOCALHOST, self._targets[broker_id])
        there_writer.write(first)
        ways = [
            asyncio.create_task(self._carry(link, reader, there_writer)),
            asyncio.create_task(self._carry(link, there_reader, writer)),
        ]
        await _first_to_end(ways)
        there_writer.close()

    async def _carry(
        self, link: frozenset[int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if link in self._cut:
                    await self._mended.wait()
                    return
                writer.write(data)
                await writer.drain()


async def _first_to_end(tasks: Iterable["asyncio.Task[None]"]) -> None:
    _done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
