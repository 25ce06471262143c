"""Offsets where consumers kept them before Kafka did: one node each under /consumers (OffsetCommit v0)."""

from pybroker.metadata.store import NodeExists, NoNode, Store, StoreError
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import Value

PARENT = "/consumers"


class OldOffsets(Value):
    """Reads and writes them. What the store refuses is UNKNOWN_SERVER_ERROR to the client, as in Kafka."""

    store: Store

    async def get(self, group_id: str, tp: TopicPartition) -> Offset | None:
        """None if there is none.

        Raises:
            ApiError: the store does not answer, or the group's name cannot be part of a path.
        """
        try:
            data, _ = await self.store.get(_path(group_id, tp))
            return int(data)
        except NoNode:
            return None
        except (StoreError, ValueError) as error:
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, str(error)) from error

    async def put(self, group_id: str, tp: TopicPartition, offset: Offset) -> None:
        """Raises as :meth:`get`."""
        path, data = _path(group_id, tp), str(offset).encode()
        try:
            try:
                await self.store.set(path, data)
            except NoNode:
                await self._create(path, data)
        except StoreError as error:
            raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, str(error)) from error

    async def _create(self, path: str, data: bytes) -> None:
        try:
            await self.store.create(path, data, make_parents=True)
        except NodeExists:
            await self.store.set(path, data)


def _path(group_id: str, tp: TopicPartition) -> str:
    return f"{PARENT}/{group_id}/offsets/{tp.topic}/{tp.partition}"
