"""The group handlers over a real partition of ``__consumer_offsets`` in a temporary directory."""

import itertools
from pathlib import Path
from typing import Any

import trio
import trio.testing

from pybroker.config.broker import BrokerConfig
from pybroker.config.topic import TopicConfig
from pybroker.coordination.old_offsets import OldOffsets
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import ConnectionState, RequestContext
from pybroker.handlers.delete_groups import DeleteGroupsHandler
from pybroker.handlers.describe_groups import DescribeGroupsHandler
from pybroker.handlers.heartbeat import HeartbeatHandler
from pybroker.handlers.join_group import JoinGroupHandler
from pybroker.handlers.leave_group import LeaveGroupHandler
from pybroker.handlers.list_groups import ListGroupsHandler
from pybroker.handlers.offset_commit import OffsetCommitHandler
from pybroker.handlers.offset_delete import OffsetDeleteHandler
from pybroker.handlers.offset_fetch import OffsetFetchHandler
from pybroker.handlers.routes import Handler
from pybroker.handlers.sync_group import SyncGroupHandler
from pybroker.instruments.clock import Clock, TimerQueue
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.image import ClusterImage, PartitionImage, TopicImage
from pybroker.model.ids import TopicPartition
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.codec import decode, decode_exactly, encode
from pybroker.protocol.messages import GroupMetadataValue
from pybroker.records.batch import iter_records
from pybroker.records.header import Record, iter_batch_headers
from pybroker.replication.partition import Partition, PartitionState
from pybroker.replication.replicas import LeadershipChange
from pybroker.replication.topic_settings import partition_settings
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files
from pybroker.storage.loader import open_log

START_MS = 1_700_000_000_000
ORDERS_ID = bytes(range(16))
OFFSETS = TopicPartition("__consumer_offsets", 0)


def image(*topics: str) -> ClusterImage:
    """Topics of two partitions each."""
    partitions = {index: PartitionImage(index, 0, 0, (0,), (0,)) for index in range(2)}
    ids = {name: bytes([number]) * 16 for number, name in enumerate(topics, 1)}
    return ClusterImage(
        topics={name: TopicImage(name, topic_id, partitions) for name, topic_id in ids.items()},
        topic_names_by_id={topic_id: name for name, topic_id in ids.items()},
    )


class GroupBench:
    """Requests go through the codec in their version, and so do the answers. Broker time is frozen."""

    def __init__(self, directory: Path, **properties: str) -> None:
        self.clock = Clock()
        self.clock.freeze(START_MS)
        self.timers = TimerQueue()
        self.config = BrokerConfig.from_properties({"group.initial.rebalance.delay.ms": "0", **properties})
        self.directory = directory
        self.partition = self._partition()
        self.store = EmbeddedStore.open(directory / "metadata", now_ms=self.clock.now_ms)
        ids = itertools.count(1)
        self.groups = GroupCoordinator(
            self.config,
            self.clock.now_ms,
            self.timers,
            partition_count=lambda: 1,
            unique_text=lambda: f"id{next(ids)}",
            image=ClusterImage,
        )
        old = OldOffsets(self.store.session())
        groups = self.groups
        self.handlers: dict[int, Handler] = {
            8: OffsetCommitHandler(groups, old, self.config.offset_metadata_max_bytes, self.clock.now_ms),
            9: OffsetFetchHandler(groups, old),
            11: JoinGroupHandler(groups),
            12: HeartbeatHandler(groups),
            13: LeaveGroupHandler(groups),
            14: SyncGroupHandler(groups),
            15: DescribeGroupsHandler(groups),
            16: ListGroupsHandler(groups),
            42: DeleteGroupsHandler(groups),
            47: OffsetDeleteHandler(groups),
        }
        self.image = image("orders", "payments")

    def _partition(self) -> Partition:
        topic = TopicConfig.from_overrides(self.config, {"cleanup.policy": "compact"})
        settings = partition_settings(OFFSETS, topic, self.config)
        where = self.directory / str(OFFSETS)
        where.mkdir()
        context = StorageContext(now_ms=self.clock.now_ms, files=Files())
        log = open_log(str(where), OFFSETS, settings.log, context, clean=True)
        partition = Partition(OFFSETS, 0, log, settings)
        partition.make_leader(PartitionState(leader=0, leader_epoch=0, isr=(0,), replicas=(0,)))
        return partition

    async def start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self.groups.run)
        self.groups.on_leadership(LeadershipChange(self.partition, is_leader=True))
        await trio.testing.wait_all_tasks_blocked()

    async def stop(self) -> None:
        self.partition.log.close_handles()
        await self.store.close()

    async def ask(self, key: int, version: int, request: Any) -> Any:
        api = api_by_key[key]
        buffer = bytearray(encode(request, version))
        decoded = decode_exactly(api.request, version, memoryview(buffer))
        connection = ConnectionState(connection_id="c-1", listener="PLAINTEXT", client_host="10.0.0.7")
        context = RequestContext(key, version, 1, "app", connection, self.image)
        response = await self.handlers[key](context, decoded)
        buffer[:] = bytes(len(buffer))  # a request's bytes die with it: nothing kept may point there
        return decode_exactly(api.response, version, encode(response, version))

    def records(self) -> list[Record]:
        """Everything in the partition."""
        read = self.partition.log.read(0, 1 << 20)
        if read.slice is None:
            return []
        data = read.slice.read()
        read.slice.release()
        return [
            record
            for position, header in iter_batch_headers(data)
            for record in iter_records(data[position : position + header.size_in_bytes])
        ]

    def member_records(self) -> list[GroupMetadataValue.MemberMetadata]:
        """The members as the last record of a group has them."""
        value = [record.value for record in self.records() if record.key and record.key[:2] == b"\0\2"][-1]
        assert value is not None
        members: list[GroupMetadataValue.MemberMetadata] = decode(GroupMetadataValue, 3, value, 2)[0].members
        return members

    def advance(self, by_ms: int) -> None:
        self.clock.advance(by_ms)
        while self.timers.fire_due(self.clock.now_ms()):
            continue

    async def ask_and_advance(self, key: int, version: int, request: Any, by_ms: int = 0) -> Any:
        """For a request that waits: the answer after broker time has moved on."""
        answers = []

        async def ask() -> None:
            answers.append(await self.ask(key, version, request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            self.advance(by_ms)
        return answers[0]
