"""OffsetCommit, OffsetFetch and OffsetDelete on the wire: every version, and what each one changed."""

from typing import Any

import pytest

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.protocol.codec import decode
from pybroker.protocol.messages import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitValue,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from tests.handlers.group_bench import START_MS, GroupBench, image
from tests.handlers.test_group_membership import stable

ORDERS_ID = image("orders", "payments").topics["orders"].topic_id


def commit_request(version: int, offset: int = 42, topic: str = "orders", **fields: Any) -> Any:
    partition = OffsetCommitRequest.OffsetCommitRequestPartition(
        partition_index=fields.pop("partition", 0),
        committed_offset=offset,
        committed_metadata=fields.pop("metadata", "note"),
    )
    if version >= 6:
        partition.committed_leader_epoch = 5
    partition.commit_timestamp = fields.pop("timestamp", -1)
    asked = OffsetCommitRequest.OffsetCommitRequestTopic(name=topic, partitions=[partition])
    if version >= 10:
        asked.topic_id = fields.pop("topic_id", ORDERS_ID)
    return OffsetCommitRequest(group_id="g", topics=[asked], **fields)


async def commit(bench: GroupBench, version: int = 9, **fields: Any) -> int:
    response = await bench.ask(8, version, commit_request(version, **fields))
    code: int = response.topics[0].partitions[0].error_code
    return code


async def fetch(bench: GroupBench, version: int = 5, partition: int = 0) -> tuple[int, int, str | None, int]:
    topic = OffsetFetchRequest.OffsetFetchRequestTopic(name="orders", partition_indexes=[partition])
    response = await bench.ask(9, version, OffsetFetchRequest(group_id="g", topics=[topic]))
    assert response.error_code == 0
    one = response.topics[0].partitions[0]
    return one.committed_offset, one.committed_leader_epoch, one.metadata, one.error_code


@pytest.mark.parametrize("version", range(1, 11))
async def test_commit(group_bench: GroupBench, version: int) -> None:
    response = await group_bench.ask(8, version, commit_request(version))
    by_id = version >= 10
    assert response == OffsetCommitResponse(
        topics=[
            OffsetCommitResponse.OffsetCommitResponseTopic(
                name="" if by_id else "orders",
                topic_id=ORDERS_ID if by_id else bytes(16),
                partitions=[OffsetCommitResponse.OffsetCommitResponsePartition(partition_index=0)],
            )
        ]
    )
    assert await fetch(group_bench) == (42, 5 if version >= 6 else -1, "note", 0)


async def test_version_0_goes_to_the_metadata_store_and_is_read_there(group_bench: GroupBench) -> None:
    assert await fetch(group_bench, 0) == (-1, -1, "", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    for offset in (42, 43):
        assert await commit(group_bench, 0, offset=offset) == 0
    data, _ = await group_bench.store.session().get("/consumers/g/offsets/orders/0")
    assert data == b"43"
    assert await fetch(group_bench, 0) == (43, -1, "", 0)
    assert await fetch(group_bench, 1) == (-1, -1, "", 0)
    assert group_bench.records() == []


async def test_version_0_refuses_long_texts_and_impossible_groups(group_bench: GroupBench) -> None:
    assert await commit(group_bench, 0, metadata="x" * 4097) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    request = commit_request(0)
    request.group_id = "a//b"
    response = await group_bench.ask(8, 0, request)
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_SERVER_ERROR


async def test_version_1_brings_its_own_timestamp(group_bench: GroupBench) -> None:
    await commit(group_bench, 1, timestamp=1234)
    value = group_bench.records()[0].value
    assert value is not None
    assert value[:2] == b"\0\3"
    assert decode(OffsetCommitValue, 3, value, 2)[0].commit_timestamp == 1234


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_a_retention_time_is_kept_as_an_expiry(group_bench: GroupBench, version: int) -> None:
    await commit(group_bench, version, retention_time_ms=1000)
    value = group_bench.records()[0].value
    assert value is not None
    assert value[:2] == b"\0\1"
    read, _ = decode(OffsetCommitValue, 1, value, 2)
    assert (read.commit_timestamp, read.expire_timestamp) == (START_MS, START_MS + 1000)


async def test_an_endless_retention_time_ends_with_time_itself(group_bench: GroupBench) -> None:
    assert await commit(group_bench, 2, retention_time_ms=(1 << 63) - 1) == 0
    value = group_bench.records()[0].value
    assert value is not None
    assert decode(OffsetCommitValue, 1, value, 2)[0].expire_timestamp == (1 << 63) - 1


async def test_null_metadata_is_empty(group_bench: GroupBench) -> None:
    await commit(group_bench, metadata=None)
    assert (await fetch(group_bench))[2] == ""


async def test_what_does_not_exist_does_not_hinder_the_rest(group_bench: GroupBench) -> None:
    request = commit_request(9)
    request.topics += [commit_request(9, topic="ghost").topics[0]]
    request.topics[0].partitions += [commit_request(9, partition=7).topics[0].partitions[0]]
    response = await group_bench.ask(8, 9, request)
    answered = {
        (topic.name, one.partition_index): one.error_code
        for topic in response.topics
        for one in topic.partitions
    }
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert answered == {("orders", 7): unknown, ("ghost", 0): unknown, ("orders", 0): 0}


async def test_an_unknown_topic_id(group_bench: GroupBench) -> None:
    request = commit_request(10, topic_id=b"?" * 16)
    response = await group_bench.ask(8, 10, request)
    assert response.topics[0].topic_id == b"?" * 16
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_simple_consumers_may_not_commit_while_a_group_has_members(group_bench: GroupBench) -> None:
    member = await stable(group_bench)
    assert await commit(group_bench) == ErrorCode.UNKNOWN_MEMBER_ID
    assert await commit(group_bench, member_id=member, generation_id_or_member_epoch=1) == 0


async def test_the_empty_group_id_is_for_offsets_only(group_bench: GroupBench) -> None:
    request = commit_request(5)
    request.group_id = ""
    response = await group_bench.ask(8, 5, request)
    assert response.topics[0].partitions[0].error_code == 0


@pytest.mark.parametrize("version", range(1, 8))
async def test_fetch_of_one_group(group_bench: GroupBench, version: int) -> None:
    await commit(group_bench)
    epoch = 5 if version >= 5 else -1
    assert await fetch(group_bench, version) == (42, epoch, "note", 0)
    assert await fetch(group_bench, version, partition=1) == (-1, -1, "", 0)


@pytest.mark.parametrize("version", range(2, 8))
async def test_null_asks_for_everything(group_bench: GroupBench, version: int) -> None:
    await commit(group_bench)
    response = await group_bench.ask(9, version, OffsetFetchRequest(group_id="g", topics=None))
    assert [(topic.name, len(topic.partitions)) for topic in response.topics] == [("orders", 1)]
    response = await group_bench.ask(9, version, OffsetFetchRequest(group_id="ghost", topics=None))
    assert response == OffsetFetchResponse()


@pytest.mark.parametrize("version", [8, 9])
async def test_fetch_of_several_groups(group_bench: GroupBench, version: int) -> None:
    await commit(group_bench)
    topic = OffsetFetchRequest.OffsetFetchRequestTopics(name="orders", partition_indexes=[0])
    group = OffsetFetchRequest.OffsetFetchRequestGroup
    request = OffsetFetchRequest(
        groups=[group(group_id="g", topics=None), group(group_id="other", topics=[topic])]
    )
    response = await group_bench.ask(9, version, request)
    found = [(one.group_id, one.topics[0].partitions[0].committed_offset) for one in response.groups]
    assert found == [("g", 42), ("other", -1)]


async def test_fetch_by_topic_id(group_bench: GroupBench) -> None:
    await commit(group_bench)
    ask = OffsetFetchRequest.OffsetFetchRequestTopics
    group = OffsetFetchRequest.OffsetFetchRequestGroup(
        group_id="g",
        topics=[
            ask(topic_id=ORDERS_ID, partition_indexes=[0]),
            ask(topic_id=b"?" * 16, partition_indexes=[3]),
        ],
    )
    response = await group_bench.ask(9, 10, OffsetFetchRequest(groups=[group]))
    found = [
        (topic.topic_id, one.partition_index, one.committed_offset, one.error_code)
        for topic in response.groups[0].topics
        for one in topic.partitions
    ]
    assert found == [(ORDERS_ID, 0, 42, 0), (b"?" * 16, 3, -1, ErrorCode.UNKNOWN_TOPIC_ID)]


@pytest.mark.parametrize(("version", "where"), [(1, "partition"), (2, "request"), (8, "group")])
async def test_where_an_error_of_the_group_is_told(tmp_path: Any, version: int, where: str) -> None:
    bench = GroupBench(tmp_path)
    topic = OffsetFetchRequest.OffsetFetchRequestTopic(name="orders", partition_indexes=[0])
    if version >= 8:
        group = OffsetFetchRequest.OffsetFetchRequestGroup(group_id="g", topics=None)
        request = OffsetFetchRequest(groups=[group])
    else:
        request = OffsetFetchRequest(group_id="g", topics=[topic])
    response = await bench.ask(9, version, request)
    code = {
        "partition": lambda: response.topics[0].partitions[0].error_code,
        "request": lambda: response.error_code,
        "group": lambda: response.groups[0].error_code,
    }[where]()
    assert code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    await bench.stop()


def delete_request(*names: str) -> OffsetDeleteRequest:
    partition = OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=0)
    return OffsetDeleteRequest(
        group_id="g",
        topics=[
            OffsetDeleteRequest.OffsetDeleteRequestTopic(name=name, partitions=[partition]) for name in names
        ],
    )


async def test_delete_offsets(group_bench: GroupBench) -> None:
    await commit(group_bench)
    await commit(group_bench, topic="payments")
    response: OffsetDeleteResponse = await group_bench.ask(47, 0, delete_request("orders", "ghost"))
    codes = {topic.name: topic.partitions[0].error_code for topic in response.topics}
    assert codes == {"ghost": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "orders": 0}
    assert (await fetch(group_bench))[0] == -1
    assert group_bench.records()[-1].value is None


async def test_delete_offsets_of_no_group(group_bench: GroupBench) -> None:
    with pytest.raises(ApiError) as raised:
        await group_bench.ask(47, 0, delete_request("orders"))
    assert raised.value.code is ErrorCode.GROUP_ID_NOT_FOUND
