"""What a broker knows at the moment it says that it is ready."""

from pathlib import Path

import pytest
import trio

from pybroker.controller import requests
from pybroker.protocol.messages import (
    CreateTopicsRequest,
    FindCoordinatorRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
)
from tests.support.broker import WireClient, connected, running_broker

TOPICS = {f"topic-{n}" for n in range(5)}


async def test_every_topic_is_known_and_led_when_the_broker_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller tells of many partitions in pieces; whoever came after the first would miss the rest."""
    monkeypatch.setattr(requests, "PARTITIONS_PER_REQUEST", 1)
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        wanted = [
            CreateTopicsRequest.CreatableTopic(name=name, num_partitions=1, replication_factor=1)
            for name in TOPICS
        ]
        answer = await client.ask(CreateTopicsRequest(topics=wanted, timeout_ms=10_000))
        assert {topic.error_code for topic in answer.topics} == {0}
    async with running_broker(tmp_path) as broker:
        assert set(broker.image.topics) == TOPICS
        assert {partition.tp.topic for partition in broker.replicas if partition.is_leader} == TOPICS


GROUPS = [f"group-{n}" for n in range(40)]
ONE_REPLICA = {"offsets.topic.replication.factor": "1"}


async def test_all_groups_are_known_when_the_broker_is_ready(tmp_path: Path) -> None:
    """Who asks a broker that has just come back for offsets gets them: several clients make an error of
    COORDINATOR_LOAD_IN_PROGRESS."""
    async with running_broker(tmp_path, ONE_REPLICA) as broker, connected(broker) as client:
        topic = CreateTopicsRequest.CreatableTopic(name="t", num_partitions=1, replication_factor=1)
        await client.ask(CreateTopicsRequest(topics=[topic], timeout_ms=10_000))
        for group in GROUPS:
            await commit(client, group, 7)
    async with running_broker(tmp_path, ONE_REPLICA) as broker, connected(broker) as client:
        for group in GROUPS:
            asked = OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=None)
            (answer,) = (await client.ask(OffsetFetchRequest(groups=[asked]), version=8)).groups
            assert answer.error_code == 0
            assert [p.committed_offset for t in answer.topics for p in t.partitions] == [7]


async def commit(client: WireClient, group: str, offset: int) -> None:
    """Commits for partition 0 of topic "t", as soon as the group has its coordinator."""
    partition = OffsetCommitRequest.OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    topic = OffsetCommitRequest.OffsetCommitRequestTopic(name="t", partitions=[partition])
    request = OffsetCommitRequest(group_id=group, topics=[topic], generation_id_or_member_epoch=-1)
    with trio.fail_after(10):
        while (await client.ask(request, version=8)).topics[0].partitions[0].error_code:
            await client.ask(FindCoordinatorRequest(key=group), version=3)
