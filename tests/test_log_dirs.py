"""A broker with several disks: a failing one takes its partitions along and no others, a full one nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pybroker.app import Broker
from pybroker.config.broker import BrokerConfig
from pybroker.model.errors import BrokerFailed, ErrorCode
from pybroker.protocol.messages import (
    CreateTopicsRequest,
    DescribeLogDirsRequest,
    FetchRequest,
    MetadataRequest,
    ProduceRequest,
)
from pybroker.records.builder import build_batch
from pybroker.records.header import Record
from pybroker.testing.disks import TroubledFiles
from tests.support.broker import WireClient, connected, running_broker

TOPIC = "orders"
STORAGE_ERROR = ErrorCode.KAFKA_STORAGE_ERROR


@asynccontextmanager
async def two_disks(
    folder: Path, files: TroubledFiles | None = None
) -> AsyncIterator[tuple[Broker, WireClient]]:
    """A broker on ``one`` (with the metadata) and ``two``."""
    overrides = {"log.dirs": f"{folder / 'one'},{folder / 'two'}", "auto.create.topics.enable": "false"}
    async with running_broker(folder, overrides, files=files) as broker, connected(broker) as client:
        yield broker, client


async def create(client: WireClient, topic: str = TOPIC, partitions: int = 4) -> None:
    wanted = CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=partitions, replication_factor=1)
    answer = await client.ask(CreateTopicsRequest(topics=[wanted], timeout_ms=5000), 7)
    assert [reply.error_code for reply in answer.topics] == [ErrorCode.NONE]


async def produce(client: WireClient, partition: int, value: bytes, topic: str = TOPIC) -> tuple[int, int]:
    """Error code and base offset."""
    data = ProduceRequest.PartitionProduceData(
        index=partition, records=build_batch([Record(0, 0, None, value)])
    )
    request = ProduceRequest(
        acks=-1,
        timeout_ms=5000,
        topic_data=[ProduceRequest.TopicProduceData(name=topic, partition_data=[data])],
    )
    reply = (await client.ask(request, 9)).responses[0].partition_responses[0]
    return reply.error_code, reply.base_offset


def fetching(partition: int, offset: int, *, wait_ms: int = 0) -> FetchRequest:
    wanted = FetchRequest.FetchPartition(
        partition=partition, fetch_offset=offset, partition_max_bytes=1 << 20
    )
    topic = FetchRequest.FetchTopic(topic=TOPIC, partitions=[wanted])
    return FetchRequest(
        replica_id=-1, max_wait_ms=wait_ms, min_bytes=1, max_bytes=1 << 20, topics=[topic], session_epoch=-1
    )


async def fetch(client: WireClient, partition: int, offset: int = 0, *, wait_ms: int = 0) -> tuple[int, int]:
    """Error code and high watermark."""
    reply = (await client.ask(fetching(partition, offset, wait_ms=wait_ms), 11)).responses[0].partitions[0]
    return reply.error_code, reply.high_watermark


async def leaders(client: WireClient) -> dict[int, tuple[int, list[int]]]:
    """Leader and offline replicas by partition."""
    asked = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=TOPIC)])
    answer = await client.ask(asked, 9)
    return {p.partition_index: (p.leader_id, p.offline_replicas) for p in answer.topics[0].partitions}


async def until_leaders_are(client: WireClient, expected: Mapping[int, tuple[int, list[int]]]) -> None:
    with trio.fail_after(10):
        while await leaders(client) != expected:
            await trio.lowlevel.checkpoint()


async def partitions_of(client: WireClient, folder: Path) -> set[int]:
    answer = await client.ask(DescribeLogDirsRequest(topics=None), 4)
    (found,) = (result for result in answer.results if result.log_dir == str(folder))
    assert found.error_code == ErrorCode.NONE
    return {p.partition_index for topic in found.topics if topic.name == TOPIC for p in topic.partitions}


async def test_partitions_are_spread_and_a_failed_disk_takes_its_own_along(tmp_path: Path) -> None:
    files = TroubledFiles()
    async with two_disks(tmp_path, files) as (broker, client):
        await create(client)
        on_one = await partitions_of(client, tmp_path / "one")
        on_two = await partitions_of(client, tmp_path / "two")
        assert (len(on_one), len(on_two)) == (2, 2)
        for partition in range(4):
            assert await produce(client, partition, b"before") == (ErrorCode.NONE, 0)
        lost, kept = min(on_two), min(on_one)

        async with connected(broker) as reader, trio.open_nursery() as nursery:
            waiting: list[tuple[int, int]] = []

            async def wait_for_news() -> None:
                waiting.append(await fetch(reader, max(on_two), 1, wait_ms=60_000))

            nursery.start_soon(wait_for_news)
            await trio.testing.wait_all_tasks_blocked(0.01)
            files.broken.add(tmp_path / "two")
            assert (await produce(client, lost, b"lost"))[0] == STORAGE_ERROR
        assert waiting[0][0] == STORAGE_ERROR, "who waits on another partition of the disk is told"

        for partition in on_two:
            assert (await produce(client, partition, b"lost"))[0] == STORAGE_ERROR
            assert (await fetch(client, partition))[0] == STORAGE_ERROR
        assert await produce(client, kept, b"goes on") == (ErrorCode.NONE, 1)
        assert await fetch(client, kept) == (ErrorCode.NONE, 2)
        me = broker.broker_id
        await until_leaders_are(client, {p: (-1, [me]) if p in on_two else (me, []) for p in range(4)})
        answer = await client.ask(DescribeLogDirsRequest(topics=None), 4)
        assert {result.log_dir: result.error_code for result in answer.results} == {
            str(tmp_path / "one"): ErrorCode.NONE,
            str(tmp_path / "two"): STORAGE_ERROR,
        }
        await create(client, "later", 3)
        assert len(list((tmp_path / "one").glob("later-*"))) == 3

    async with two_disks(tmp_path) as (broker, client):
        await until_leaders_are(client, {p: (broker.broker_id, []) for p in range(4)})
        for partition in range(4):
            expected = 2 if partition == kept else 1
            assert await fetch(client, partition) == (ErrorCode.NONE, expected)


async def test_what_a_disk_held_is_not_made_anew_while_it_is_away(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (_broker, client):
        await create(client)
        on_two = await partitions_of(client, tmp_path / "two")
        for partition in range(4):
            await produce(client, partition, b"before")
    (tmp_path / "two").rename(tmp_path / "away")
    (tmp_path / "two").write_text("no directory")
    async with two_disks(tmp_path) as (broker, client):
        me = broker.broker_id
        await until_leaders_are(client, {p: (-1, [me]) if p in on_two else (me, []) for p in range(4)})
        assert len(list((tmp_path / "one").glob(f"{TOPIC}-*"))) == 2
    (tmp_path / "two").unlink()
    (tmp_path / "away").rename(tmp_path / "two")
    async with two_disks(tmp_path) as (broker, client):
        await until_leaders_are(client, {p: (broker.broker_id, []) for p in range(4)})
        assert [await fetch(client, partition) for partition in range(4)] == [(ErrorCode.NONE, 1)] * 4


@pytest.mark.parametrize(
    ("dirs", "broken", "reason"),
    [
        (["one"], "one", "all log directories have failed"),
        (["one", "two"], "one", "the log directory with the metadata has failed"),
    ],
)
async def test_the_broker_stops_when_it_cannot_go_on(
    tmp_path: Path, dirs: list[str], broken: str, reason: str
) -> None:
    files = TroubledFiles()
    properties = {
        "listeners": "PLAINTEXT://127.0.0.1:0",
        "log.dirs": ",".join(str(tmp_path / name) for name in dirs),
    }
    broker = Broker(BrokerConfig.from_properties(properties), files=files)
    failures: list[str] = []
    with trio.fail_after(20):
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(broker.run)
                async with connected(broker) as client:
                    await create(client)
                    on_it = [int(path.name[-1]) for path in (tmp_path / broken).glob(f"{TOPIC}-*")]
                    files.broken.add(tmp_path / broken)
                    assert (await produce(client, on_it[0], b"lost"))[0] == STORAGE_ERROR
                    await trio.sleep_forever()
        except* BrokerFailed as group:
            failures = [str(error) for error in group.exceptions]
    assert len(failures) == 1
    assert failures[0].startswith(reason)
    assert "\n" not in failures[0]
    marks = {name: (tmp_path / name / ".kafka_cleanshutdown").exists() for name in dirs}
    assert marks == {name: name != broken for name in dirs}, "what still works is closed in good order"


async def test_a_full_disk_refuses_producers_until_there_is_room(tmp_path: Path) -> None:
    files = TroubledFiles()
    async with two_disks(tmp_path, files) as (broker, client):
        await create(client)
        on_two = min(await partitions_of(client, tmp_path / "two"))
        assert await produce(client, on_two, b"before") == (ErrorCode.NONE, 0)
        files.full.add(tmp_path / "two")
        for _ in range(3):
            assert (await produce(client, on_two, b"no room"))[0] == STORAGE_ERROR
        assert await fetch(client, on_two) == (ErrorCode.NONE, 1)
        assert await leaders(client) == {p: (broker.broker_id, []) for p in range(4)}
        files.full.clear()
        assert await produce(client, on_two, b"after") == (ErrorCode.NONE, 1)
        assert await fetch(client, on_two) == (ErrorCode.NONE, 2)
    async with two_disks(tmp_path) as (_broker, client):
        assert await fetch(client, on_two) == (ErrorCode.NONE, 2)
