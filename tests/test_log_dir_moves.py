"""Replicas move from disk to disk while they are written and read, and clients do not notice."""

from pathlib import Path

import pytest
import trio

from pybroker.app import Broker
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    AlterReplicaLogDirsRequest,
    DeleteTopicsRequest,
    DescribeLogDirsRequest,
    IncrementalAlterConfigsRequest,
)
from pybroker.replication.log_dir_moves import THROTTLE
from pybroker.testing.disks import TroubledFiles
from tests.support.broker import WireClient, connected
from tests.test_log_dirs import TOPIC, create, fetch, partitions_of, produce, two_disks

BROKER_RESOURCE = 4


async def move(client: WireClient, path: Path | str, *partitions: int, topic: str = TOPIC) -> list[int]:
    """The error codes of the partitions."""
    asked = AlterReplicaLogDirsRequest.AlterReplicaLogDirTopic(name=topic, partitions=list(partitions))
    request = AlterReplicaLogDirsRequest(
        dirs=[AlterReplicaLogDirsRequest.AlterReplicaLogDir(path=str(path), topics=[asked])]
    )
    answer = await client.ask(request, 2)
    (result,) = answer.results
    assert result.topic_name == topic
    return [one.error_code for one in result.partitions]


async def places(client: WireClient, partition: int = 0) -> list[tuple[str, bool, int]]:
    """Where a partition is: directory, whether it is on its way there, and how many offsets it lags."""
    answer = await client.ask(DescribeLogDirsRequest(topics=None), 4)
    return [
        (Path(result.log_dir).name, one.is_future_key, one.offset_lag)
        for result in answer.results
        for topic in result.topics
        if topic.name == TOPIC
        for one in topic.partitions
        if one.partition_index == partition
    ]


async def until_in(client: WireClient, name: str, partition: int = 0) -> None:
    with trio.fail_after(20):
        while await places(client, partition) != [(name, False, 0)]:
            await trio.lowlevel.checkpoint()


async def throttle(client: WireClient, broker: Broker, value: str | None) -> None:
    entry = IncrementalAlterConfigsRequest.AlterableConfig(
        name=THROTTLE, config_operation=0 if value else 1, value=value
    )
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource(
        resource_type=BROKER_RESOURCE, resource_name=str(broker.broker_id), configs=[entry]
    )
    answer = await client.ask(IncrementalAlterConfigsRequest(resources=[resource]), 1)
    assert [one.error_code for one in answer.responses] == [0]
    expected = int(value) if value else (1 << 63) - 1
    with trio.fail_after(10):
        while broker.config.replication_rate(THROTTLE) != expected:
            await trio.lowlevel.checkpoint()


def folders(folder: Path, suffix: str = "") -> list[str]:
    return [path.name for path in folder.glob(f"{TOPIC}-0*") if path.name.endswith(suffix)]


async def where(client: WireClient, folder: Path) -> tuple[Path, Path]:
    """The directory that partition 0 is in, and the other one."""
    ((name, _is_future, _lag),) = await places(client)
    other = "one" if name == "two" else "two"
    return folder / name, folder / other


async def test_a_replica_moves_with_all_it_has_and_is_served_on(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (_broker, client):
        await create(client)
        for number in range(50):
            assert await produce(client, 0, b"%d" % number) == (ErrorCode.NONE, number)
        source, target = await where(client, tmp_path)
        assert await move(client, target, 0) == [ErrorCode.NONE]
        for number in range(50, 80):
            assert await produce(client, 0, b"%d" % number) == (ErrorCode.NONE, number)
        await until_in(client, target.name)
        assert await produce(client, 0, b"80") == (ErrorCode.NONE, 80)
        assert await fetch(client, 0) == (ErrorCode.NONE, 81)
        assert folders(target) == [f"{TOPIC}-0"]
        assert folders(source) == folders(source, "-delete")
    async with two_disks(tmp_path) as (_broker, client):
        assert await places(client) == [(target.name, False, 0)]
        assert await fetch(client, 0) == (ErrorCode.NONE, 81)


async def test_a_throttled_move_shows_its_lag_and_can_be_given_up(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (broker, client):
        await create(client)
        for number in range(8):
            await produce(client, 0, bytes(200_000) + b"%d" % number)
        source, target = await where(client, tmp_path)
        await throttle(client, broker, "1000")
        assert await move(client, target, 0) == [ErrorCode.NONE]
        with trio.fail_after(10):
            while len(found := await places(client)) < 2 or found[-1][2] == 8 or found[0][2] == 8:
                await trio.lowlevel.checkpoint()
        by_name = {name: (is_future, lag) for name, is_future, lag in found}
        assert by_name[source.name] == (False, 0)
        assert by_name[target.name][0]
        assert 0 < by_name[target.name][1] < 8
        assert folders(target) == folders(target, "-future")
        assert await move(client, target, 0) == [ErrorCode.NONE], "ordered again, it goes on"
        assert await move(client, source, 0) == [ErrorCode.NONE]
        assert await places(client) == [(source.name, False, 0)]
        assert folders(target) == folders(target, "-delete")
        await throttle(client, broker, None)
        assert await move(client, target, 0) == [ErrorCode.NONE]
        await until_in(client, target.name)
        assert await fetch(client, 0) == (ErrorCode.NONE, 8)


async def test_a_move_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (broker, client):
        await create(client)
        for number in range(8):
            await produce(client, 0, bytes(200_000) + b"%d" % number)
        _source, target = await where(client, tmp_path)
        await throttle(client, broker, "1000")
        await move(client, target, 0)
        with trio.fail_after(10):
            while len(await places(client)) < 2:
                await trio.lowlevel.checkpoint()
        await throttle(client, broker, None)
    async with two_disks(tmp_path) as (_broker, client):
        await until_in(client, target.name)
        assert await fetch(client, 0) == (ErrorCode.NONE, 8)


async def test_a_deleted_topic_ends_its_move(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (broker, client):
        await create(client)
        for _ in range(4):
            await produce(client, 0, bytes(200_000))
        source, target = await where(client, tmp_path)
        await throttle(client, broker, "1000")
        await move(client, target, 0)
        await client.ask(DeleteTopicsRequest(topic_names=[TOPIC], timeout_ms=5000), 3)
        with trio.fail_after(10):
            while await places(client):
                await trio.lowlevel.checkpoint()
        for folder in (source, target):
            assert folders(folder) == folders(folder, "-delete")


async def test_a_replica_that_comes_later_is_made_where_it_was_ordered(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (_broker, client):
        for target in ("two", "one"):
            topic = f"later-{target}"
            codes = await move(client, tmp_path / target, 0, 1, 2, topic=topic)
            assert codes == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] * 3
            await create(client, topic, 3)
            assert len(list((tmp_path / target).glob(f"{topic}-*"))) == 3


async def test_a_target_that_fails_amid_a_move_leaves_the_replica_where_it_was(tmp_path: Path) -> None:
    files = TroubledFiles()
    async with two_disks(tmp_path, files) as (broker, client):
        await create(client)
        on_one, on_two = [min(await partitions_of(client, tmp_path / name)) for name in ("one", "two")]
        for number in range(4):
            await produce(client, on_one, bytes(200_000) + b"%d" % number)
        await throttle(client, broker, "1000")
        assert await move(client, tmp_path / "two", on_one) == [ErrorCode.NONE]
        with trio.fail_after(10):
            while len(await places(client, on_one)) < 2:
                await trio.lowlevel.checkpoint()
        files.broken.add(tmp_path / "two")
        await throttle(client, broker, None)
        with trio.fail_after(10):
            while await places(client, on_one) != [("one", False, 0)]:
                await trio.lowlevel.checkpoint()
        assert await produce(client, on_one, b"goes on") == (ErrorCode.NONE, 4)
        assert await move(client, tmp_path / "two", on_one) == [ErrorCode.KAFKA_STORAGE_ERROR]
        assert await move(client, tmp_path / "one", on_two) == [ErrorCode.KAFKA_STORAGE_ERROR]


async def test_a_target_without_room_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = TroubledFiles()
    async with two_disks(tmp_path, files) as (broker, client):
        await create(client)
        for _ in range(4):
            await produce(client, 0, bytes(200_000))
        _source, target = await where(client, tmp_path)
        files.full.add(target)
        assert await move(client, target, 0) == [ErrorCode.KAFKA_STORAGE_ERROR]
        assert folders(target) == []
        files.full.clear()
        await throttle(client, broker, "1000")
        assert await move(client, target, 0) == [ErrorCode.NONE]
        files.full.add(target)
        await throttle(client, broker, None)
        with trio.fail_after(10):
            while "no space left" not in caplog.text or f"moving {TOPIC}-0 to" not in caplog.text:
                await trio.lowlevel.checkpoint()
        files.full.clear()
        await until_in(client, target.name)
        assert await fetch(client, 0) == (ErrorCode.NONE, 4)


@pytest.mark.parametrize(
    ("path", "topic", "code"),
    [
        ("elsewhere", TOPIC, ErrorCode.LOG_DIR_NOT_FOUND),
        ("one", "missing", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("one", "t" * 220, ErrorCode.INVALID_TOPIC_EXCEPTION),
    ],
)
async def test_what_cannot_be_moved_is_refused(
    tmp_path: Path, path: str, topic: str, code: ErrorCode
) -> None:
    async with two_disks(tmp_path) as (_broker, client):
        await create(client)
        assert await move(client, tmp_path / path, 0, topic=topic) == [code]


async def test_several_replicas_move_while_others_are_written(tmp_path: Path) -> None:
    async with two_disks(tmp_path) as (broker, client), connected(broker) as writer:
        await create(client)
        counts = dict.fromkeys(range(4), 0)
        for partition in range(4):
            for _ in range(10):
                await produce(client, partition, bytes(50_000))
                counts[partition] += 1
        for target in ("two", "one", "two"):
            await move(client, tmp_path / target, *range(4))
            for partition in range(4):
                await produce(writer, partition, b"amid")
                counts[partition] += 1
            for partition in range(4):
                await until_in(client, target, partition)
        for partition, count in counts.items():
            assert await fetch(client, partition) == (ErrorCode.NONE, count)
