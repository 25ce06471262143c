"""Producer ids: unique in the cluster for ever, handed out from blocks that the controller allocates."""

from collections.abc import Awaitable, Callable

import trio

from pybroker.model.ids import ProducerId

BLOCK_SIZE = 1000


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
