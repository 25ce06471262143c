"""Kafka's tools move replicas and leaders of three brokers: reassignments, throttles, elections, racks."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from interop.benchmarks.clusters import ClusterUnderTest
from interop.support.tool_runner import KafkaTools
from interop.support.waiting import wait_until

pytestmark = pytest.mark.whole

RACKS = ("a", "a", "b")
RECORD = 10_000
COUNT = 400
THROTTLE = 500_000
RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")


@pytest.fixture(scope="module", params=["pybroker", "kafka"])
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterUnderTest]:
    cluster = ClusterUnderTest(request.param, {"min.insync.replicas": "1"}, RACKS)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def tools(cluster: ClusterUnderTest) -> Iterator[KafkaTools]:
    tools = KafkaTools(cluster.bootstrap, "tools-3.9")
    yield tools
    tools.close()


def create(tools: KafkaTools, topic: str, *arguments: str) -> None:
    tools.check("kafka-topics", "--create", "--topic", topic, *arguments)


def fill(cluster: ClusterUnderTest, topic: str, partitions: int = 1) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "batch.size": 100_000, "acks": "all"})
    for number in range(COUNT):
        producer.produce(topic, str(number).encode() + bytes(RECORD), partition=number % partitions)
    assert producer.flush(60) == 0


def read(cluster: ClusterUnderTest, topic: str, partitions: int = 1) -> list[int]:
    """The numbers of all records, sorted."""
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap, "group.id": "g", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    found: list[int] = []
    try:
        while len(found) < COUNT:
            messages = consumer.consume(COUNT, 10.0)
            assert messages, f"{len(found)} of {COUNT} records are there"
            found += [int(message.value().rstrip(b"\0")) for message in messages]
    finally:
        consumer.close()
    return sorted(found)


def placed(cluster: ClusterUnderTest, topic: str) -> dict[int, tuple[int, list[int], set[int]]]:
    """Leader, replicas and ISR of each partition."""
    found = cluster.admin().list_topics(topic, timeout=10).topics[topic].partitions
    return {index: (one.leader, one.replicas, set(one.isrs)) for index, one in found.items()}


def plan_file(folder: Path, topic: str, replicas: dict[int, list[int]]) -> str:
    partitions = [{"topic": topic, "partition": index, "replicas": ids} for index, ids in replicas.items()]
    file = folder / "plan.json"
    file.write_text(json.dumps({"version": 1, "partitions": partitions}))
    return str(file)


def dynamic(tools: KafkaTools, *entity: str) -> str:
    """What is set of the throttles."""
    output = tools.check("kafka-configs", "--describe", *entity).output
    return "\n".join(line for line in output.splitlines() if "throttled" in line)


def test_replicas_are_spread_over_the_racks(cluster: ClusterUnderTest, tools: KafkaTools) -> None:
    create(tools, "racks", "--partitions", "6", "--replication-factor", "2")
    for _, replicas, _ in placed(cluster, "racks").values():
        assert {RACKS[broker] for broker in replicas} == {"a", "b"}


def test_a_reassignment_moves_all_records(
    cluster: ClusterUnderTest, tools: KafkaTools, tmp_path: Path
) -> None:
    create(tools, "moved", "--replica-assignment", "0,0,0")
    fill(cluster, "moved", 3)
    wanted = {0: [1, 2], 1: [2, 1], 2: [1]}
    plan = plan_file(tmp_path, "moved", wanted)
    tools.check("kafka-reassign-partitions", "--execute", "--reassignment-json-file", plan)

    def is_done() -> bool:
        done = tools.check("kafka-reassign-partitions", "--verify", "--reassignment-json-file", plan)
        return done.output.count("is completed") == len(wanted)

    wait_until(is_done, "the end of the reassignment", 60)
    assert {index: replicas for index, (_, replicas, _) in placed(cluster, "moved").items()} == wanted
    assert all(
        leader in replicas and isr == set(replicas)
        for leader, replicas, isr in placed(cluster, "moved").values()
    )
    assert read(cluster, "moved", 3) == list(range(COUNT))


def test_a_throttle_holds_a_reassignment_back_and_goes_with_it(
    cluster: ClusterUnderTest, tools: KafkaTools, tmp_path: Path
) -> None:
    create(tools, "slow", "--replica-assignment", "0")
    fill(cluster, "slow")
    plan = plan_file(tmp_path, "slow", {0: [1]})
    started_at = time.monotonic()
    tools.check(
        "kafka-reassign-partitions",
        "--execute",
        "--reassignment-json-file",
        plan,
        "--throttle",
        str(THROTTLE),
    )
    for broker in ("0", "1"):
        found = dynamic(tools, "--entity-type", "brokers", "--entity-name", broker)
        assert all(f"{rate}={THROTTLE}" in found for rate in RATES), found
    found = dynamic(tools, "--entity-type", "topics", "--entity-name", "slow")
    assert "leader.replication.throttled.replicas=0:0" in found
    assert "follower.replication.throttled.replicas=0:1" in found
    verify = ("kafka-reassign-partitions", "--verify", "--reassignment-json-file", plan)
    assert "is still in progress" in tools.check(*verify).output
    wait_until(lambda: "is completed" in tools.check(*verify).output, "the end of the reassignment", 120)
    # A first sample may take what it wants: that is one fetch of a follower at most.
    least_s = (COUNT * RECORD - (1 << 20)) / THROTTLE / 2
    assert time.monotonic() - started_at > least_s
    for broker in ("0", "1"):
        assert dynamic(tools, "--entity-type", "brokers", "--entity-name", broker) == ""
    assert dynamic(tools, "--entity-type", "topics", "--entity-name", "slow") == ""
    assert read(cluster, "slow") == list(range(COUNT))


def test_a_reassignment_is_given_up(cluster: ClusterUnderTest, tools: KafkaTools, tmp_path: Path) -> None:
    """The throttle is in force before it begins: brokers hear of what the tool sets in their own time, and
    may have copied everything by then."""
    leader = ("--entity-type", "brokers", "--entity-name", "0")
    rate = f"{RATES[0]}=1000"
    tools.check("kafka-configs", "--alter", *leader, "--add-config", rate)
    wait_until(lambda: rate in dynamic(tools, *leader), "the leader's throttle", 30)
    throttled = "leader.replication.throttled.replicas=*"
    create(tools, "kept", "--replica-assignment", "0", "--config", throttled)
    fill(cluster, "kept")
    plan = plan_file(tmp_path, "kept", {0: [2]})
    tools.check(
        "kafka-reassign-partitions", "--execute", "--reassignment-json-file", plan, "--throttle", "1000"
    )
    assert placed(cluster, "kept")[0][2] == {0}
    tools.check("kafka-reassign-partitions", "--cancel", "--reassignment-json-file", plan)
    wait_until(lambda: placed(cluster, "kept")[0] == (0, [0], {0}), "the old replica", 30)
    assert dynamic(tools, "--entity-type", "topics", "--entity-name", "kept") == ""
    assert read(cluster, "kept") == list(range(COUNT))


def test_the_preferred_leader_leads_again_when_it_is_told_to(
    cluster: ClusterUnderTest, tools: KafkaTools
) -> None:
    create(tools, "preferred", "--replica-assignment", "2:0:1")
    cluster.brokers[2].stop_process()
    wait_until(lambda: placed(cluster, "preferred")[0][0] == 0, "the next replica leads", 30)
    cluster.brokers[2].start()
    cluster.wait_until_whole(["preferred"])
    assert placed(cluster, "preferred")[0][0] == 0
    election = ("--election-type", "preferred", "--topic", "preferred", "--partition", "0")
    result = tools.check("kafka-leader-election", *election)
    assert "preferred-0" in result.output, str(result)
    wait_until(lambda: placed(cluster, "preferred")[0][0] == 2, "the preferred leader", 10)
    assert "Valid replica already elected" in tools.check("kafka-leader-election", *election).output


def test_an_unclean_leader_is_elected_when_it_is_asked_for(
    cluster: ClusterUnderTest, tools: KafkaTools
) -> None:
    create(tools, "unclean", "--replica-assignment", "1:2")
    cluster.brokers[2].stop_process()
    wait_until(lambda: placed(cluster, "unclean")[0][2] == {1}, "an ISR of one", 30)
    producer = Producer({"bootstrap.servers": cluster.bootstrap})
    producer.produce("unclean", b"lost", partition=0)
    assert producer.flush(30) == 0
    cluster.brokers[1].stop_process()
    cluster.brokers[2].start()
    assert placed(cluster, "unclean")[0][0] == -1
    tools.check(
        "kafka-leader-election", "--election-type", "unclean", "--topic", "unclean", "--partition", "0"
    )
    wait_until(lambda: placed(cluster, "unclean")[0][0] == 2, "an unclean leader", 10)
    cluster.brokers[1].start()
    wait_until(lambda: placed(cluster, "unclean")[0][2] == {1, 2}, "the other replica", 30)
