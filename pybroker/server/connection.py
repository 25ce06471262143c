"""One connection, one task: wait, receive once, answer every complete frame, send once."""

import contextlib
import logging
import time
import types
from collections.abc import Coroutine, Generator
from typing import Any, Protocol

import trio

from pybroker.handlers.context import ConnectionState
from pybroker.instruments.metrics import ServerMetrics
from pybroker.model.errors import CloseConnection
from pybroker.protocol.framing import FrameError, FrameReader, LargeBuffers, ReceiveBuffer
from pybroker.server.limits import InFlightBytes
from pybroker.server.outbox import FileCutShort, Outbox
from pybroker.server.transport import Part, Transport

log = logging.getLogger(__name__)

REPLY_BACKLOG_BYTES = 256 * 1024
"""With more than this waiting to be sent no further request is answered."""

STRETCH_S = 0.004
"""A connection that has answered requests for this long lets others have their turn."""


class FrameHandler(Protocol):
    """What answers frames; the dispatcher."""

    def handle_frame(
        self, connection: ConnectionState, frame: memoryview
    ) -> Coroutine[Any, Any, list[Part] | None]: ...


class ServerShare:
    """What the connections of one listener share; the listener makes it."""

    __slots__ = ("handler", "in_flight", "large_buffers", "metrics", "nursery", "receive_buffer", "tick")

    def __init__(
        self,
        handler: FrameHandler,
        metrics: ServerMetrics,
        in_flight: InFlightBytes,
        nursery: trio.Nursery,
    ) -> None:
        self.handler = handler
        self.metrics = metrics
        self.in_flight = in_flight
        self.nursery = nursery
        self.receive_buffer = ReceiveBuffer()
        self.large_buffers = LargeBuffers()
        self.tick = 0
        """Counts the sweeps for idle connections; connections note it instead of looking at a clock."""


class Connection:
    """Serves one client until it leaves, misbehaves or is told to stop. :meth:`run` is its task.

    Attributes:
        state: what handlers know about it.
        last_tick: the sweep during which it was last active.
        is_handling: whether a handler is waiting. The connection can be idle all the same: its client may be
            long gone.
        close_reason: why it was closed from this side; empty otherwise.
    """

    __slots__ = (
        "_broken",
        "_charged_bytes",
        "_flushing",
        "_is_busy",
        "_is_stopping",
        "_outbox",
        "_reader",
        "_scope",
        "_share",
        "_transport",
        "close_reason",
        "is_handling",
        "last_tick",
        "state",
    )

    def __init__(self, transport: Transport, state: ConnectionState, share: ServerShare) -> None:
        self.state = state
        self.last_tick = share.tick
        self.is_handling = False
        self.close_reason = ""
        self._share = share
        self._transport = transport
        self._outbox = Outbox(transport, share.metrics)
        self._reader = FrameReader(state.max_frame_bytes, share.receive_buffer, share.large_buffers)
        self._scope = trio.CancelScope()
        self._is_stopping = False
        self._is_busy = False
        self._charged_bytes = 0
        self._flushing: trio.Event | None = None
        self._broken: Exception | None = None

    async def run(self) -> None:
        """The connection from its first byte to its end. Raises nothing but cancellation."""
        try:
            with self._scope:
                await self._serve()
        except (FrameError, CloseConnection, FileCutShort) as error:
            self.close_reason = str(error)
            self._send_last_replies()
        except OSError as error:
            log.debug("connection %s broke: %s", self.state.connection_id, error)
        except Exception:
            log.exception("connection %s failed", self.state.connection_id)
        finally:
            self._finish()

    def stop(self) -> None:
        """Lets the requests in flight finish and their replies go out, then closes."""
        self._is_stopping = True
        if not self._is_busy:
            self._scope.cancel()

    def close(self, reason: str) -> None:
        """Closes at once; requests in flight are cancelled. ``reason`` is logged."""
        self.close_reason = reason
        self._scope.cancel()

    @property
    def is_inside_frame(self) -> bool:
        """Whether a part of a frame has arrived and the rest has not."""
        return not self._reader.is_between_frames

    async def _serve(self) -> None:
        reader = self._reader
        transport = self._transport
        outbox = self._outbox
        state = self.state
        share = self._share
        in_flight = share.in_flight
        while not self._is_stopping:
            await transport.wait_readable(reader.missing_bytes or 1)
            self.last_tick = share.tick
            if in_flight.used_bytes >= in_flight.limit_bytes:
                await in_flight.wait_for_turn(self, self.is_inside_frame)
            try:
                received = reader.receive(transport.recv_into)
            except BlockingIOError:
                continue
            if received == 0:
                return
            share.metrics.bytes_in += received
            self._is_busy = True
            if reader.large_bytes:
                self._charge()
            reader.limit = state.max_frame_bytes
            await self._answer_frames()
            reader.settle()
            if reader.large_bytes != self._charged_bytes:
                self._charge()
            if in_flight.favoured is self and reader.is_between_frames:
                in_flight.finished(self)
            if outbox.pending_bytes and not outbox.flush():
                await self._drain()
            self._is_busy = False

    async def _answer_frames(self) -> None:
        """Answers every complete frame received, in order."""
        next_frame = self._reader.next_frame
        handle_frame = self._share.handler.handle_frame
        outbox = self._outbox
        started_s = time.perf_counter()
        while (frame := next_frame()) is not None:
            size = len(frame)
            answer = handle_frame(self.state, frame)
            frame = None  # its buffer is used again as soon as nothing refers to it
            try:
                trap = answer.send(None)
            except StopIteration as finished:
                parts = finished.value
            else:
                parts = await self._wait_for(answer, trap, size)
            if parts is not None:
                outbox.add(parts)
                parts = None
                if outbox.pending_bytes > REPLY_BACKLOG_BYTES and not outbox.flush():
                    await self._drain()
            if time.perf_counter() - started_s > STRETCH_S:
                outbox.flush()
                await trio.lowlevel.checkpoint()
                started_s = time.perf_counter()

    async def _wait_for(self, answer: Coroutine[Any, Any, Any], trap: Any, size: int) -> Any:
        """Goes on with a handler that is about to wait. The replies before it are sent first: whoever sent
        those requests must not wait for this one too."""
        if self._outbox.pending_bytes:
            self._flush_behind()
        held = 0 if self._charged_bytes else size
        in_flight = self._share.in_flight
        in_flight.adjust(held)
        self.is_handling = True
        try:
            parts = await _resume(answer, trap)
        finally:
            in_flight.adjust(-held)
            self.is_handling = False
        self.last_tick = self._share.tick
        if self._flushing is not None:
            self._outbox.add(parts or ())
            parts = None
            await self._flushing.wait()
            self._flushing = None
        if self._broken is not None:
            raise self._broken
        return parts

    def _flush_behind(self) -> None:
        """Sends what the socket takes. What it does not take is left to a task, for this one is between a
        handler's wait and the scheduler, where nothing can be awaited."""
        try:
            if not self._outbox.flush():
                self._flushing = trio.Event()
                self._share.nursery.start_soon(self._drain_behind, self._flushing)
        except (OSError, FileCutShort) as error:
            self._broken = error

    async def _drain_behind(self, done: trio.Event) -> None:
        try:
            await self._drain()
        except (OSError, FileCutShort, trio.ClosedResourceError) as error:
            self._broken = error
        finally:
            done.set()

    async def _drain(self) -> None:
        """Waits until everything is sent."""
        while not self._outbox.flush():
            await self._transport.wait_writable()
            self.last_tick = self._share.tick

    def _charge(self) -> None:
        held = self._reader.large_bytes
        self._share.in_flight.adjust(held - self._charged_bytes)
        self._charged_bytes = held

    def _send_last_replies(self) -> None:
        """What was answered before the connection's last, bad request still goes out, if it can at once."""
        with contextlib.suppress(OSError, FileCutShort):
            self._outbox.flush()

    def _finish(self) -> None:
        self._outbox.discard()
        self._reader.drop()
        self._share.in_flight.adjust(-self._charged_bytes)
        self._share.in_flight.finished(self)
        self._transport.close()
        if self.close_reason:
            log.info(
                "closed connection %s on %s: %s",
                self.state.connection_id,
                self.state.listener,
                self.close_reason,
            )


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Any], trap: Any) -> Generator[Any, Any, Any]:
    """Awaits the rest of a coroutine that was started by hand and has yielded ``trap``."""
    while True:
        try:
            answer = yield trap
        except BaseException as error:  # noqa: BLE001 - thrown on, into the coroutine it is meant for
            try:
                trap = coroutine.throw(error)
            except StopIteration as finished:
                return finished.value
        else:
            try:
                trap = coroutine.send(answer)
            except StopIteration as finished:
                return finished.value
