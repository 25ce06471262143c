"""Reads and writes the state nodes of partitions for the controller, many at once, every write fenced."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import field
from msgspec.structs import replace

from pybroker.controller.fencing import FencedStore
from pybroker.metadata.store import (
    BadVersion,
    Create,
    MultiFailed,
    NodeExists,
    Op,
    SetData,
    Stat,
    Store,
    StoreError,
)
from pybroker.metadata.znodes import (
    LeaderAndIsr,
    MalformedZnode,
    PartitionStateZNode,
    TopicPartitionsZNode,
    TopicPartitionZNode,
)
from pybroker.model.ids import ControllerEpoch, TopicPartition
from pybroker.model.values import Value

log = logging.getLogger(__name__)

_PARTITIONS_PER_MULTI = 100
_PARTITIONS_PER_READ = 200


class Updates(Value):
    """What became of a round of state changes. ``retry`` lost a race against another writer: read again."""

    done: dict[TopicPartition, LeaderAndIsr] = field(default_factory=dict)
    retry: list[TopicPartition] = field(default_factory=list)
    failed: dict[TopicPartition, StoreError] = field(default_factory=dict)


class PartitionStore:
    """The state nodes, for one controller epoch."""

    def __init__(self, store: Store, fenced: FencedStore, epoch: ControllerEpoch) -> None:
        self._store = store
        self._fenced = fenced
        self._epoch = epoch

    async def read(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, PartitionStateZNode]:
        """The states there are; partitions without one, or with one nobody can read, are left out."""
        states: dict[TopicPartition, PartitionStateZNode] = {}
        for start in range(0, len(partitions), _PARTITIONS_PER_READ):
            piece = partitions[start : start + _PARTITIONS_PER_READ]
            nodes = await self._store.get_all([PartitionStateZNode.path(partition) for partition in piece])
            for partition, node in zip(piece, nodes, strict=True):
                if node is None:
                    continue
                try:
                    states[partition] = PartitionStateZNode.decode(partition, *node)
                except MalformedZnode as error:
                    log.error("the state of partition %s is ignored: %s", partition, error)
        return states

    async def create(
        self, states: Mapping[TopicPartition, LeaderAndIsr], topics_with_folder: Collection[str]
    ) -> Updates:
        """Writes first states, with the folders above them.

        Args:
            states: first state by partition.
            topics_with_folder: topics whose /partitions is there for sure.
        """
        updates = Updates()
        groups = list(_groups(states))
        multis = [
            self._creation(states, group, with_folder=is_first and group[0].topic not in topics_with_folder)
            for group, is_first in groups
        ]
        collided: list[TopicPartition] = []
        for (group, _), answer in zip(groups, await self._fenced.multi_all(multis), strict=True):
            if isinstance(answer, MultiFailed) and isinstance(answer.error, NodeExists):
                collided.extend(group)
            elif isinstance(answer, StoreError):
                updates.failed.update(dict.fromkeys(group, answer))
            else:
                updates.done.update({partition: states[partition] for partition in group})
        if collided:
            await self._create_one_by_one(states, collided, updates)
        return updates

    async def update(self, states: Mapping[TopicPartition, LeaderAndIsr]) -> Updates:
        """Replaces states, each only if it is still at its partition epoch."""
        updates = Updates()
        multis = [
            [SetData(PartitionStateZNode.path(p), self._encode(state), state.partition_epoch)]
            for p, state in states.items()
        ]
        for (partition, state), answer in zip(
            states.items(), await self._fenced.multi_all(multis), strict=True
        ):
            if isinstance(answer, MultiFailed) and isinstance(answer.error, BadVersion):
                updates.retry.append(partition)
            elif isinstance(answer, StoreError):
                updates.failed[partition] = answer
            else:
                stat = answer[0]
                assert isinstance(stat, Stat)
                updates.done[partition] = replace(state, partition_epoch=stat.version)
        return updates

    async def _create_one_by_one(
        self,
        states: Mapping[TopicPartition, LeaderAndIsr],
        partitions: Sequence[TopicPartition],
        updates: Updates,
    ) -> None:
        """For nodes of which some exist, because a creation broke off in the middle or was repeated."""
        folders = [TopicPartitionsZNode.path(topic) for topic in {p.topic for p in partitions}]
        folders += [TopicPartitionZNode.path(partition) for partition in partitions]
        for answer in await self._fenced.multi_all([[Create(folder)] for folder in folders]):
            if isinstance(answer, StoreError) and not _is_existing(answer):
                raise answer
        multis = [[self._state_creation(partition, states[partition])] for partition in partitions]
        existing: list[TopicPartition] = []
        for partition, answer in zip(partitions, await self._fenced.multi_all(multis), strict=True):
            if not isinstance(answer, StoreError):
                updates.done[partition] = states[partition]
            elif _is_existing(answer):
                existing.append(partition)
                updates.failed[partition] = answer
            else:
                updates.failed[partition] = answer
        for partition, node in (await self.read(existing)).items():
            if node.controller_epoch == self._epoch:
                updates.done[partition] = node.state
                del updates.failed[partition]

    def _creation(
        self,
        states: Mapping[TopicPartition, LeaderAndIsr],
        group: Iterable[TopicPartition],
        *,
        with_folder: bool,
    ) -> list[Op]:
        ops: list[Op] = []
        for partition in group:
            if with_folder and not ops:
                ops.append(Create(TopicPartitionsZNode.path(partition.topic)))
            ops.append(Create(TopicPartitionZNode.path(partition)))
            ops.append(self._state_creation(partition, states[partition]))
        return ops

    def _state_creation(self, partition: TopicPartition, state: LeaderAndIsr) -> Create:
        return Create(PartitionStateZNode.path(partition), self._encode(state))

    def _encode(self, state: LeaderAndIsr) -> bytes:
        return PartitionStateZNode(state, self._epoch).encode()


def _is_existing(answer: StoreError) -> bool:
    return isinstance(answer, MultiFailed) and isinstance(answer.error, NodeExists)


def _groups(partitions: Iterable[TopicPartition]) -> Iterable[tuple[list[TopicPartition], bool]]:
    """Partitions of one topic in pieces that fit one multi, and whether a piece is its topic's first."""
    by_topic: dict[str, list[TopicPartition]] = {}
    for partition in partitions:
        by_topic.setdefault(partition.topic, []).append(partition)
    for group in by_topic.values():
        for start in range(0, len(group), _PARTITIONS_PER_MULTI):
            yield group[start : start + _PARTITIONS_PER_MULTI], start == 0
