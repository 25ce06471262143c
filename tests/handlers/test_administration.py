"""The smaller questions of an administrator: partitions, directories, elections, moves, producers, ACLs."""

from pathlib import Path
from typing import Any

import pytest

from pybroker.protocol.messages import (
    AlterPartitionReassignmentsRequest,
    CreateAclsRequest,
    CreatePartitionsRequest,
    DeleteAclsRequest,
    DeleteTopicsRequest,
    DescribeAclsRequest,
    DescribeLogDirsRequest,
    DescribeProducersRequest,
    ElectLeadersRequest,
    ListOffsetsRequest,
    ListPartitionReassignmentsRequest,
    MetadataRequest,
)
from tests.handlers.producing import NOW_MS, produce
from tests.support.broker import ConnectionEnded, WireClient

UNKNOWN_TOPIC, TIMED_OUT, INVALID_TOPIC, INVALID_PARTITIONS, INVALID_ASSIGNMENT = 3, 7, 17, 37, 39
INVALID_REQUEST, SECURITY_DISABLED, NOT_NEEDED, NO_REASSIGNMENT = 42, 54, 84, 85
AUTHORIZATION_FAILED, UNKNOWN_TOPIC_ID = 29, 100


# -- CreatePartitions


async def grow(client: WireClient, *topics: Any, **options: Any) -> dict[str, tuple[int, str | None]]:
    request = CreatePartitionsRequest(
        topics=list(topics), timeout_ms=options.pop("timeout_ms", 5000), **options
    )
    return {one.name: (one.error_code, one.error_message) for one in (await client.ask(request)).results}


def to(name: str, count: int, assignments: list[list[int]] | None = None) -> Any:
    assignment = CreatePartitionsRequest.CreatePartitionsAssignment
    given = None if assignments is None else [assignment(broker_ids=brokers) for brokers in assignments]
    return CreatePartitionsRequest.CreatePartitionsTopic(name=name, count=count, assignments=given)


async def partitions_of(client: WireClient, topic: str) -> list[tuple[int, int]]:
    asked = MetadataRequest.MetadataRequestTopic(name=topic)
    answer = (await client.ask(MetadataRequest(topics=[asked]), 12)).topics[0]
    return [(one.partition_index, one.leader_id) for one in answer.partitions]


async def test_new_partitions_are_led_when_the_answer_comes(client: WireClient) -> None:
    assert await grow(client, to("orders", 4), to("compacted", 2, [[0]])) == {
        "orders": (0, None),
        "compacted": (0, None),
    }
    assert await partitions_of(client, "orders") == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert await produce(client, "orders", 3, 1) == 0


async def test_topics_that_cannot_grow_say_why(client: WireClient) -> None:
    assert await grow(client, to("orders", 2), to("missing", 2), to("compacted", 3, [[0]])) == {
        "orders": (INVALID_PARTITIONS, "Topic already has 2 partitions."),
        "missing": (UNKNOWN_TOPIC, "The topic 'missing' does not exist."),
        "compacted": (
            INVALID_ASSIGNMENT,
            "Increasing the number of partitions by 2 but 1 assignments provided.",
        ),
    }
    smaller = "Topic currently has 2 partitions, which is higher than the requested 1."
    assert await grow(client, to("orders", 1)) == {"orders": (INVALID_PARTITIONS, smaller)}
    unknown = "Unknown broker(s) in replica assignment: 9."
    assert await grow(client, to("orders", 3, [[9]])) == {"orders": (INVALID_ASSIGNMENT, unknown)}


async def test_a_topic_named_twice_is_refused_once(client: WireClient) -> None:
    refused = (INVALID_REQUEST, "Duplicate topic in request.")
    assert await grow(client, to("orders", 3), to("orders", 4)) == {"orders": refused}


async def test_growth_is_only_checked_or_not_waited_for(client: WireClient) -> None:
    assert await grow(client, to("orders", 3), validate_only=True) == {"orders": (0, None)}
    assert len(await partitions_of(client, "orders")) == 2
    assert await grow(client, to("orders", 3), timeout_ms=0) == {"orders": (TIMED_OUT, None)}


# -- DescribeLogDirs


async def test_log_directories_show_sizes(client: WireClient, tmp_path: Path) -> None:
    await produce(client, "orders", 1, 3)
    asked = DescribeLogDirsRequest.DescribableLogDirTopic
    request = DescribeLogDirsRequest(
        topics=[asked(topic="orders", partitions=[1, 9]), asked(topic="missing", partitions=[0])]
    )
    (directory,) = (await client.ask(request, 4)).results
    assert (directory.error_code, directory.log_dir) == (0, str(tmp_path))
    assert 0 < directory.usable_bytes < directory.total_bytes
    (topic,) = directory.topics
    (partition,) = topic.partitions
    size = (tmp_path / "orders-1" / f"{0:020}.log").stat().st_size
    assert (topic.name, partition.partition_index, partition.partition_size) == ("orders", 1, size)
    assert (partition.offset_lag, partition.is_future_key) == (0, False)


async def test_all_replicas_or_none_are_described(client: WireClient) -> None:
    everything = (await client.ask(DescribeLogDirsRequest(topics=None), 1)).results[0]
    assert {topic.name: len(topic.partitions) for topic in everything.topics} == {"orders": 2, "compacted": 1}
    nothing = (await client.ask(DescribeLogDirsRequest(topics=[]), 1)).results[0]
    assert nothing.topics == []


# -- ElectLeaders and reassignments


async def elect(client: WireClient, request: ElectLeadersRequest, version: int = 2) -> Any:
    answer = await client.ask(request, version)
    return answer.error_code, {
        (topic.topic, one.partition_id): (one.error_code, one.error_message)
        for topic in answer.replica_election_results
        for one in topic.partition_result
    }


async def test_elections_on_one_broker_are_never_needed(client: WireClient) -> None:
    named = ElectLeadersRequest.TopicPartitions
    partitions = [named(topic="orders", partitions=[0]), named(topic="missing", partitions=[0])]
    expected = {
        ("orders", 0): (NOT_NEEDED, "Leader election not needed for topic partition."),
        ("missing", 0): (UNKNOWN_TOPIC, "The partition does not exist."),
    }
    for kind in (0, 1):
        request = ElectLeadersRequest(election_type=kind, topic_partitions=partitions)
        assert await elect(client, request) == (0, expected)
    assert await elect(client, ElectLeadersRequest(topic_partitions=partitions), 0) == (0, expected)


async def test_of_all_partitions_only_those_with_news_are_told(client: WireClient) -> None:
    assert await elect(client, ElectLeadersRequest(topic_partitions=None)) == (0, {})


async def test_an_unknown_type_of_election_is_refused(client: WireClient) -> None:
    named = ElectLeadersRequest.TopicPartitions(topic="orders", partitions=[1])
    code, results = await elect(client, ElectLeadersRequest(election_type=7, topic_partitions=[named]))
    assert (code, results["orders", 1][0]) == (INVALID_REQUEST, INVALID_REQUEST)


@pytest.mark.parametrize(
    ("topic", "replicas", "code", "message"),
    [
        ("orders", None, NO_REASSIGNMENT, "No partition reassignment is in progress."),
        ("orders", [0], 0, None),
        ("orders", [], INVALID_ASSIGNMENT, "Empty replica list specified in partition reassignment."),
        ("missing", [0], UNKNOWN_TOPIC, "The partition does not exist."),
    ],
)
async def test_moves_on_one_broker(
    client: WireClient, topic: str, replicas: list[int] | None, code: int, message: str | None
) -> None:
    wish = AlterPartitionReassignmentsRequest.ReassignablePartition(partition_index=0, replicas=replicas)
    asked = AlterPartitionReassignmentsRequest.ReassignableTopic(name=topic, partitions=[wish])
    answer = await client.ask(AlterPartitionReassignmentsRequest(topics=[asked]), 0)
    (result,) = answer.responses[0].partitions
    assert (answer.error_code, result.error_code, result.error_message) == (0, code, message)
    listed = await client.ask(ListPartitionReassignmentsRequest(topics=None))
    assert (listed.error_code, listed.topics) == (0, [])


# -- DescribeProducers


async def producers(client: WireClient, topic: str, partition: int) -> Any:
    asked = DescribeProducersRequest.TopicRequest(name=topic, partition_indexes=[partition])
    return (await client.ask(DescribeProducersRequest(topics=[asked]))).topics[0].partitions[0]


async def test_idempotent_producers_are_remembered(client: WireClient) -> None:
    await produce(client, "orders", 0, 2, producer_id=71, producer_epoch=3, base_sequence=0)
    await produce(client, "orders", 0, 1)
    (producer,) = (await producers(client, "orders", 0)).active_producers
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (71, 3, 1)
    assert (producer.last_timestamp, producer.current_txn_start_offset) == (NOW_MS + 1, -1)
    assert producer.coordinator_epoch == -1


async def test_producers_of_partitions_that_are_not_there(client: WireClient) -> None:
    answer = await producers(client, "missing", 0)
    host = "This server does not host this topic-partition."
    assert (answer.error_code, answer.error_message) == (UNKNOWN_TOPIC, host)
    answer = await producers(client, "orders", 9)
    assert (answer.error_code, answer.error_message) == (UNKNOWN_TOPIC, None)
    answer = await producers(client, "a/b", 0)
    assert answer.error_code == INVALID_TOPIC


# -- ACLs


async def test_there_is_no_authorizer(client: WireClient) -> None:
    answer = await client.ask(DescribeAclsRequest(resource_type_filter=1, operation=1, permission_type=1))
    assert (answer.error_code, answer.error_message) == (
        SECURITY_DISABLED,
        "No Authorizer is configured on the broker",
    )
    rule = CreateAclsRequest.AclCreation(resource_type=2, operation=3, permission_type=3)
    one = DeleteAclsRequest.DeleteAclsFilter(resource_type_filter=2, operation=3, permission_type=3)
    created = await client.ask(CreateAclsRequest(creations=[rule, rule]))
    deleted = await client.ask(DeleteAclsRequest(filters=[one, one]))
    refused = [(SECURITY_DISABLED, "No Authorizer is configured.")] * 2
    assert [(result.error_code, result.error_message) for result in created.results] == refused
    assert [(result.error_code, result.error_message) for result in deleted.filter_results] == refused


async def test_unknown_elements_in_a_request_about_acls_end_the_connection(client: WireClient) -> None:
    with pytest.raises(ConnectionEnded):
        await client.ask(DescribeAclsRequest(resource_type_filter=0, operation=1, permission_type=1))


# -- ListOffsets of the oldest version


async def test_the_oldest_list_offsets_names_where_segments_begin(client: WireClient) -> None:
    await produce(client, "orders", 0, 4)

    async def ask(timestamp: int, count: int) -> list[int]:
        partition = ListOffsetsRequest.ListOffsetsPartition(
            partition_index=0, timestamp=timestamp, max_num_offsets=count
        )
        asked = ListOffsetsRequest.ListOffsetsTopic(name="orders", partitions=[partition])
        answer = await client.ask(ListOffsetsRequest(topics=[asked]), 0)
        return list(answer.topics[0].partitions[0].old_style_offsets)

    assert await ask(-1, 10) == [4, 0]
    assert await ask(-1, 1) == [4]
    assert await ask(-2, 10) == [0]
    assert await ask(0, 10) == []


# -- DeleteTopics


async def test_a_topic_to_delete_needs_a_name_or_an_id_but_not_both(client: WireClient) -> None:
    topic = DeleteTopicsRequest.DeleteTopicState

    async def delete(*topics: Any) -> list[tuple[int, str | None]]:
        answer = await client.ask(DeleteTopicsRequest(topics=list(topics), timeout_ms=5000), 6)
        return [(one.error_code, one.error_message) for one in answer.responses]

    unknown_id = bytes(range(16))
    assert await delete(topic(name=None)) == [(AUTHORIZATION_FAILED, None)]
    assert await delete(topic(name=None, topic_id=unknown_id)) == [(UNKNOWN_TOPIC_ID, None)]
    both = topic(name="orders", topic_id=unknown_id)
    assert await delete(topic(name="compacted"), both) == [(INVALID_REQUEST, None)] * 2
    assert await delete(topic(name="compacted"), topic(name="missing")) == [(0, None), (UNKNOWN_TOPIC, None)]
