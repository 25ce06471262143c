"""The way from the controller to each broker: in order, one request at a time, tried until it arrives."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

import trio

from pybroker.metadata.znodes import BrokerIdZNode
from pybroker.model.ids import BrokerId
from pybroker.protocol import messages

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 0.1

ControlRequest: TypeAlias = (
    "messages.LeaderAndIsrRequest | messages.UpdateMetadataRequest | messages.StopReplicaRequest"
)
ControlResponse: TypeAlias = (
    "messages.LeaderAndIsrResponse | messages.UpdateMetadataResponse | messages.StopReplicaResponse"
)
_VERSION_OF: Final[Mapping[str, int]] = {
    "LeaderAndIsrRequest": 7,
    "UpdateMetadataRequest": 8,
    "StopReplicaRequest": 4,
}


def version_of(order: ControlRequest) -> int:
    """The version of an order, the same on the wire and in process. Nobody is asked whether he knows it."""
    return _VERSION_OF[type(order).__name__]


OnResponse: TypeAlias = Callable[[BrokerId, ControlRequest, ControlResponse], None]


class ChannelBroken(Exception):
    """The request may or may not have arrived; send it again."""


class BrokerChannel(Protocol):
    """A connection to one broker: over the wire, or in process to the broker's own handlers."""

    async def send(self, request: ControlRequest) -> ControlResponse:
        """Sends one request and waits for its answer. Receivers do not change the request: parts of it are
        shared between brokers.

        Raises:
            ChannelBroken: there is no connection, or it broke.
        """

    async def aclose(self) -> None:
        """Closes the connection."""


Connect: TypeAlias = Callable[[BrokerIdZNode], BrokerChannel]


class _BrokerQueue:
    def __init__(self, channel: BrokerChannel) -> None:
        self.channel = channel
        self.requests: deque[tuple[ControlRequest, OnResponse | None]] = deque()
        self.has_work = trio.Event()
        self.drained = trio.Event()
        self.drained.set()
        self.scope = trio.CancelScope()


class Channels:
    """One queue and one task per live broker. All methods are called by the controller's event loop."""

    def __init__(self, nursery: trio.Nursery, connect: Connect) -> None:
        self._nursery = nursery
        self._connect = connect
        self._queues: dict[BrokerId, _BrokerQueue] = {}

    def add(self, broker: BrokerIdZNode) -> None:
        """Starts talking to a broker, unless that has begun already."""
        if broker.broker_id not in self._queues:
            queue = _BrokerQueue(self._connect(broker))
            self._queues[broker.broker_id] = queue
            self._nursery.start_soon(self._run, broker.broker_id, queue)

    def remove(self, broker_id: BrokerId) -> None:
        """Stops talking to a broker; what it was not sent yet is forgotten."""
        queue = self._queues.pop(broker_id, None)
        if queue is not None:
            queue.scope.cancel()

    def remove_all(self) -> None:
        """Stops talking to everybody."""
        for broker_id in list(self._queues):
            self.remove(broker_id)

    def send(
        self, broker_id: BrokerId, request: ControlRequest, on_response: OnResponse | None = None
    ) -> None:
        """Queues a request. ``on_response`` is called when its answer came, on the trio thread."""
        queue = self._queues.get(broker_id)
        if queue is None:
            log.warning("not sending %s to broker %d: it is offline", type(request).__name__, broker_id)
            return
        queue.requests.append((request, on_response))
        queue.has_work.set()
        if queue.drained.is_set():
            queue.drained = trio.Event()

    async def drained(self, broker_id: BrokerId) -> None:
        """Waits until a broker has answered all that is queued for it, or is not talked to any more."""
        queue = self._queues.get(broker_id)
        if queue is not None:
            await queue.drained.wait()

    async def _run(self, broker_id: BrokerId, queue: _BrokerQueue) -> None:
        with queue.scope:
            try:
                while True:
                    await queue.has_work.wait()
                    queue.has_work = trio.Event()
                    while queue.requests:
                        request, on_response = queue.requests.popleft()
                        response = await self._send_until_answered(broker_id, queue.channel, request)
                        if on_response is not None:
                            on_response(broker_id, request, response)
                        # A channel in process may answer without ever having waited.
                        await trio.lowlevel.checkpoint()
                    queue.drained.set()
            finally:
                queue.drained.set()
                with trio.CancelScope(shield=True):
                    await queue.channel.aclose()

    async def _send_until_answered(
        self, broker_id: BrokerId, channel: BrokerChannel, request: ControlRequest
    ) -> ControlResponse:
        is_first = True
        while True:
            try:
                return await channel.send(request)
            except ChannelBroken as error:
                level = logging.WARNING if is_first else logging.DEBUG
                log.log(level, "cannot send %s to broker %d: %s", type(request).__name__, broker_id, error)
                is_first = False
                await trio.sleep(RETRY_AFTER_SECONDS)
