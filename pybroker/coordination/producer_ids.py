"""Producer ids: unique in the cluster for ever, handed out from blocks that the controller allocates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerEpoch, BrokerId, ProducerId
from pybroker.protocol import messages
from pybroker.replication.peer import ControllerPort, PeerUnreachable

VERSION = 0


class ProducerIds:
    """Ids of this broker's current block. A restart begins a new block: an id is never given twice."""

    def __init__(self, allocate_block: Callable[[], Awaitable[range]]) -> None:
        self._allocate_block = allocate_block
        self._block = range(0)
        self._allocating = trio.Lock()

    async def next(self) -> ProducerId:
        """The next id. Raises what the allocation of a block raises."""
        while not self._block:
            async with self._allocating:
                if not self._block:
                    self._block = await self._allocate_block()
        producer_id = self._block[0]
        self._block = self._block[1:]
        return producer_id


async def allocate_block(controller: ControllerPort, broker_id: BrokerId, broker_epoch: BrokerEpoch) -> range:
    """A new block from the controller.

    Raises:
        ApiError: COORDINATOR_LOAD_IN_PROGRESS while there is none; the client asks again.
    """
    request = messages.AllocateProducerIdsRequest(broker_id=broker_id, broker_epoch=broker_epoch)
    try:
        response = await controller.ask(request, VERSION)
    except PeerUnreachable as error:
        raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, f"no producer ids: {error}") from error
    assert isinstance(response, messages.AllocateProducerIdsResponse)
    if response.error_code != ErrorCode.NONE:
        name = ErrorCode(response.error_code).name
        raise ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, f"no producer ids: {name}")
    return range(response.producer_id_start, response.producer_id_start + response.producer_id_len)
