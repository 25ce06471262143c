"""What clients may create, grow and delete, and in which words they are refused."""

import pytest

from pybroker.controller.topic_creation import NewTopic
from pybroker.controller.topics_admin import NewPartitions
from pybroker.metadata.store import Create
from pybroker.metadata.znodes import (
    ConfigEntityZNode,
    ConfigType,
    ReplicaAssignment,
    TopicsZNode,
    TopicZNode,
)
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID
from tests.controller.cluster import create, fake_cluster


@pytest.fixture
async def admin(cluster):
    return cluster.broker(1).admin


async def refusal(admin, topic):
    result = (await admin.create_topics([topic], 5_000))[topic.name]
    assert result.topic_id == ZERO_TOPIC_ID
    assert (result.num_partitions, result.replication_factor) == (-1, -1)
    return result.error, result.message


async def test_numbers_given_or_left_to_the_broker(admin):
    results = await admin.create_topics([NewTopic("default"), NewTopic("given", 4, 3)], 5_000)
    assert [(r.error, r.num_partitions, r.replication_factor) for r in results.values()] == [
        (ErrorCode.NONE, 1, 1),
        (ErrorCode.NONE, 4, 3),
    ]


async def test_configs_are_written_with_the_topic(cluster, admin):
    topic = NewTopic("t", configs=[("retention.ms", "5")])
    result = (await admin.create_topics([topic], 5_000))["t"]
    assert result.configs == {"retention.ms": "5"}
    path = ConfigEntityZNode.path(ConfigType.TOPIC, "t")
    assert (await cluster.broker(1).session.get(path))[0] == ConfigEntityZNode.encode({"retention.ms": "5"})


async def test_a_config_left_over_from_before_is_replaced(cluster, admin):
    path = ConfigEntityZNode.path(ConfigType.TOPIC, "t")
    await cluster.broker(1).session.create(path, ConfigEntityZNode.encode({"old": "1"}))
    await admin.create_topics([NewTopic("t")], 5_000)
    assert (await cluster.broker(1).session.get(path))[0] == ConfigEntityZNode.encode({})


@pytest.mark.parametrize(
    ("topic", "error", "message"),
    [
        (
            NewTopic("a/b"),
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'",
        ),
        (
            NewTopic(""),
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            "Topic name is invalid: the empty string is not allowed",
        ),
        (
            NewTopic("t", num_partitions=0),
            ErrorCode.INVALID_PARTITIONS,
            "Number of partitions must be larger than 0.",
        ),
        (
            NewTopic("t", num_partitions=-2),
            ErrorCode.INVALID_PARTITIONS,
            "Number of partitions must be larger than 0.",
        ),
        (
            NewTopic("t", replication_factor=4),
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor: 4 larger than available brokers: 3.",
        ),
        (
            NewTopic("t", num_partitions=1, assignments={0: (1,)}),
            ErrorCode.INVALID_REQUEST,
            "Both numPartitions or replicationFactor and replicasAssignments were set. "
            "Both cannot be used at the same time.",
        ),
        (
            NewTopic("t", assignments={1: (1,)}),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            NewTopic("t", configs=[("a", None), ("b", None)]),
            ErrorCode.INVALID_CONFIG,
            "Null value not supported for topic configs: a,b",
        ),
    ],
)
async def test_what_is_refused(admin, topic, error, message):
    assert await refusal(admin, topic) == (error, message)


async def test_names_that_exist_or_collide(cluster, admin):
    await create(cluster, "a.b", [(1,)])
    assert await refusal(admin, NewTopic("a.b")) == (
        ErrorCode.TOPIC_ALREADY_EXISTS,
        "Topic 'a.b' already exists.",
    )
    assert await refusal(admin, NewTopic("a_b")) == (
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        "Topic 'a_b' collides with existing topics: a.b",
    )


async def test_config_validator_and_policy_have_a_say(admin):
    def bad_config(topic, values):
        raise ApiError(ErrorCode.INVALID_CONFIG, f"bad {dict(values)}")

    def policy(topic, assignment):
        raise ApiError(ErrorCode.POLICY_VIOLATION, f"{topic.name} {dict(assignment)}")

    admin._creation._policy = policy
    topic = NewTopic("t", assignments={0: (1,)}, configs=[("k", "v")])
    assert await refusal(admin, topic) == (ErrorCode.POLICY_VIOLATION, "t {0: (1,)}")
    admin._creation._validate_config = bad_config
    assert await refusal(admin, topic) == (ErrorCode.INVALID_CONFIG, "bad {'k': 'v'}")


async def test_validate_only_changes_nothing(cluster, admin):
    result = (await admin.create_topics([NewTopic("t", 2, 2)], 5_000, validate_only=True))["t"]
    assert (result.error, result.num_partitions, result.topic_id) == (ErrorCode.NONE, 2, ZERO_TOPIC_ID)
    assert await cluster.broker(1).session.exists(TopicZNode.path("t")) is None
    await create(cluster, "u", [(1,)])
    grown = await admin.create_partitions([NewPartitions("u", 2)], 5_000, validate_only=True)
    assert (grown["u"].error, grown["u"].num_partitions) == (ErrorCode.NONE, 2)
    data, _ = await cluster.broker(1).session.get(TopicZNode.path("u"))
    assert len(TopicZNode.decode("u", data).partitions) == 1


@pytest.mark.parametrize("timeout_ms", [0, -1])
async def test_who_does_not_wait_is_told_that_it_timed_out_and_the_topic_comes(cluster, admin, timeout_ms):
    result = (await admin.create_topics([NewTopic("t")], timeout_ms))["t"]
    assert (result.error, result.message) == (ErrorCode.REQUEST_TIMED_OUT, None)
    await cluster.settle()
    assert cluster.broker(1).publisher.current.topics["t"].partitions[0].has_leader


async def test_a_topic_without_a_leader_in_time(cluster, admin):
    cluster.cut.add(1)
    result = (await admin.create_topics([NewTopic("t")], 50))["t"]
    assert result.error is ErrorCode.REQUEST_TIMED_OUT


async def test_each_topic_of_a_request_stands_alone(cluster, admin):
    topics = [
        NewTopic("one"),
        NewTopic("too.many", replication_factor=9),
        NewTopic("a.b", 2),
        NewTopic("a_b"),
        NewTopic("two", configs=[("retention.ms", "5")]),
    ]
    results = await admin.create_topics(topics, 5_000)
    assert {name: result.error for name, result in results.items()} == {
        "one": ErrorCode.NONE,
        "too.many": ErrorCode.INVALID_REPLICATION_FACTOR,
        "a.b": ErrorCode.NONE,
        "a_b": ErrorCode.INVALID_TOPIC_EXCEPTION,
        "two": ErrorCode.NONE,
    }
    assert await cluster.broker(1).session.children(TopicsZNode.path) == ["a.b", "one", "two"]


async def test_two_who_create_the_same_topic_at_once(cluster):
    """The second loses, and leaves no trace in the first one's configuration."""
    admin = cluster.broker(1).admin
    creation = admin._creation
    write = creation._write_topics

    async def lose_then_write(plans, results):
        node = TopicZNode({0: ReplicaAssignment((1,))}, b"i" * 16)
        config = ConfigEntityZNode.encode({"first": "1"})
        await cluster.broker(2).session.multi(
            [
                Create(ConfigEntityZNode.path(ConfigType.TOPIC, "t"), config),
                Create(TopicZNode.path("t"), node.encode()),
            ]
        )
        return await write(plans, results)

    creation._write_topics = lose_then_write
    result = (await admin.create_topics([NewTopic("t", configs=[("second", "1")])], 5_000))["t"]
    assert (result.error, result.message) == (ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 't' already exists.")
    data, _ = await cluster.broker(1).session.get(ConfigEntityZNode.path(ConfigType.TOPIC, "t"))
    assert data == ConfigEntityZNode.encode({"first": "1"})


async def test_deletion_of_what_is_not_there(admin):
    results = await admin.delete_topics(["missing", "a/b", ""], 5_000)
    assert {(r.error, r.message) for r in results.values()} == {
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic `{name}` to delete does not exist") for name in results
    }


async def test_deletion_may_be_asked_for_twice(cluster, admin):
    await create(cluster, "t", [(1, 2)])
    cluster.cut.add(2)
    assert (await admin.delete_topics(["t"], 0))["t"].error is ErrorCode.REQUEST_TIMED_OUT
    again = (await admin.delete_topics(["t"], 5_000))["t"]
    assert again.error is ErrorCode.NONE


@pytest.mark.parametrize(
    ("growth", "error", "message"),
    [
        (
            NewPartitions("missing", 3),
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            "The topic 'missing' does not exist.",
        ),
        (NewPartitions("t", 2), ErrorCode.INVALID_PARTITIONS, "Topic already has 2 partitions."),
        (
            NewPartitions("t", 1),
            ErrorCode.INVALID_PARTITIONS,
            "Topic currently has 2 partitions, which is higher than the requested 1.",
        ),
        (
            NewPartitions("t", 3, [(1, 9)]),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Unknown broker(s) in replica assignment: 9.",
        ),
        (
            NewPartitions("t", 4, [(1, 2)]),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Increasing the number of partitions by 2 but 1 assignments provided.",
        ),
    ],
)
async def test_growth_that_is_refused(cluster, admin, growth, error, message):
    await create(cluster, "t", [(1, 2), (2, 3)])
    result = (await admin.create_partitions([growth], 5_000))[growth.name]
    assert (result.error, result.message) == (error, message)


async def test_a_topic_that_waits_for_its_deletion_does_not_grow(cluster, admin):
    await create(cluster, "t", [(1, 3)])
    await cluster.broker(3).kill()
    await admin.delete_topics(["t"], 0)
    await cluster.settle()
    result = (await admin.create_partitions([NewPartitions("t", 2)], 5_000))["t"]
    assert result.error is ErrorCode.INVALID_TOPIC_EXCEPTION
    assert result.message == "The topic is queued for deletion."


async def test_growth_with_given_replicas(cluster, admin):
    await create(cluster, "t", [(1, 2)])
    result = (await admin.create_partitions([NewPartitions("t", 2, [(3, 1)])], 5_000))["t"]
    assert result.error is ErrorCode.NONE
    assert cluster.broker(1).publisher.current.topics["t"].partitions[1].replicas == (3, 1)


async def test_replicas_go_to_different_racks(tmp_path):
    async with fake_cluster(tmp_path, 4, racks=["a", "a", "b", "b"]) as cluster:
        await cluster.broker(1).admin.create_topics([NewTopic("t", 8, 2)], 5_000)
        for partition in cluster.broker(1).publisher.current.topics["t"].partitions.values():
            assert len({cluster.broker(replica).rack for replica in partition.replicas}) == 2
