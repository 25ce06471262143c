"""Clusters for tests, as other people's clients see them: reset, faults, lives of brokers, clock, journal."""

import contextlib
import gc
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kafka
import kafka.errors
import pytest
import trio
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from interop.support.waiting import wait_until
from pybroker.control.operations import NoSuchThing, OperationFailed, TimedOut
from pybroker.control.reading import BadInput
from pybroker.instruments.faults import InvalidFault
from pybroker.replication.replicas import PARTITIONS_SET_ASIDE
from pybroker.testing import KafkaCluster

Clusters = Callable[..., KafkaCluster]

SEED = {
    "topics": [
        {
            "name": "drinks",
            "partitions": 2,
            "configs": {"retention.ms": 86_400_000},
            "records": [
                {"key": "tea", "value": "green", "headers": {"from": "Uji"}, "partition": 1},
                {"value": "black", "timestamp_ms": 1000},
            ],
        }
    ],
    "offsets": [{"group": "guests", "topic": "drinks", "partition": 1, "offset": 1, "metadata": "m"}],
}


@pytest.fixture
def producer_of() -> Iterator[Callable[..., KafkaProducer]]:
    """Makes producers that are closed at the end of the test."""
    made: list[KafkaProducer] = []

    def make(cluster: KafkaCluster, **options: Any) -> KafkaProducer:
        options.setdefault("retries", 0)
        options.setdefault("enable_idempotence", False)
        made.append(KafkaProducer(bootstrap_servers=cluster.bootstrap_servers, **options))
        return made[-1]

    yield make
    for producer in made:
        with contextlib.suppress(kafka.errors.KafkaTimeoutError):
            producer.close(timeout=0)


def read_all(cluster: KafkaCluster, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=cluster.bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    found: list[bytes] = []
    while len(found) < count:
        for records in consumer.poll(timeout_ms=1000).values():
            found += [record.value for record in records]
    consumer.close()
    return sorted(found)


def poll_until_stable(cluster: KafkaCluster, consumer: KafkaConsumer) -> None:
    """kafka-python joins its group while it is polled, and only then."""
    while True:
        consumer.poll(timeout_ms=50)
        try:
            cluster.wait_for_group("g", members=1, timeout_s=0.01)
        except TimedOut:
            continue
        return


def test_a_client_sees_what_was_seeded(kafka_cluster: Clusters) -> None:
    cluster = kafka_cluster(seed=SEED)
    assert read_all(cluster, "drinks", 2) == [b"black", b"green"]
    (tea,) = cluster.records("drinks", partition=1)
    assert (tea["key"], tea["value"], tea["headers"]) == ("tea", "green", [["from", "Uji"]])
    guests = KafkaConsumer(bootstrap_servers=cluster.bootstrap_servers, group_id="guests")
    committed = guests.committed(TopicPartition("drinks", 1), metadata=True)
    assert (committed.offset, committed.metadata) == (1, "m")
    guests.close()


def test_a_reset_leaves_the_seed_alone_and_nothing_else(
    kafka_cluster: Clusters, producer_of: Callable[..., KafkaProducer]
) -> None:
    cluster = kafka_cluster(seed=SEED)
    producer = producer_of(cluster, enable_idempotence=True, retries=3)
    producer.send("drinks", b"milk").get(10)
    producer.send("else", b"x").get(10)
    topic_id = described(cluster, "drinks")["topic_id"]
    producer_ids = {entry["response"]["producer_id"] for entry in cluster.journal(api="InitProducerId")}
    cluster.fault(error="UNKNOWN_SERVER_ERROR", times=None)
    cluster.freeze(at_ms=1000)
    cluster.reset()
    assert cluster.call("faults") == []
    assert cluster.journal() == []
    assert abs(cluster.now_ms() - time.time() * 1000) < 60_000
    assert [record["value"] for record in cluster.records("drinks")] == ["black", "green"]
    with pytest.raises(NoSuchThing, match="no topic 'else'"):
        cluster.records("else")
    assert described(cluster, "drinks")["topic_id"] != topic_id
    producer_of(cluster, enable_idempotence=True, retries=3).send("drinks", b"milk").get(10)
    fresh = {entry["response"]["producer_id"] for entry in cluster.journal(api="InitProducerId")}
    assert fresh.isdisjoint(producer_ids)


def described(cluster: KafkaCluster, topic: str) -> dict[str, Any]:
    admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    (found,) = admin.describe_topics([topic])
    admin.close()
    return dict(found)


def test_a_producer_of_the_last_test_cannot_write_into_the_next(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t")
    producer = producer_of(kafka_broker)
    producer.send("t", b"before").get(10)
    kafka_broker.reset()
    kafka_broker.create_topic("t")
    leaked = producer.send("t", b"late")
    producer_of(kafka_broker, client_id="next").send("t", b"after").get(10)
    with pytest.raises(kafka.errors.KafkaError):
        leaked.get(0.5)
    assert {entry["client_id"] for entry in kafka_broker.journal()} == {"next"}
    assert [record["value"] for record in kafka_broker.records("t")] == ["after"]


def test_the_files_of_before_a_reset_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with KafkaCluster(seed=SEED) as cluster:
        (before,) = tmp_path.glob("pybroker-*/generation-*")
        cluster.reset()
        wait_until(lambda: not before.exists(), "the old files are gone", 10)
        (after,) = tmp_path.glob("pybroker-*/generation-*")
        assert after != before
    assert list(tmp_path.iterdir()) == []


def test_a_chosen_port_stays_after_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with KafkaCluster(ports=[port]) as cluster:
        cluster.reset()
        assert cluster.bootstrap_servers == f"127.0.0.1:{port}"


def test_a_fault_befalls_a_client_as_often_as_it_says(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t")
    producer = producer_of(kafka_broker)
    with kafka_broker.fault(api="Produce", topic="t", error="MESSAGE_TOO_LARGE") as fault:
        with pytest.raises(kafka.errors.MessageSizeTooLargeError):
            producer.send("t", b"x").get(10)
        producer.send("t", b"y").get(10)
        assert (fault.matched, fault.fired) == (2, 1)
    assert [record["value"] for record in kafka_broker.records("t")] == ["y"]


def test_an_answer_that_is_dropped_was_carried_out(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t")
    producer = producer_of(kafka_broker, request_timeout_ms=500, delivery_timeout_ms=600)
    kafka_broker.fault(api="Produce", action="drop_reply", times=None)
    sent = producer.send("t", b"x")
    kafka_broker.wait_for_records("t", 1)
    with pytest.raises(kafka.errors.KafkaError):
        sent.get(10)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"api": "Prodce", "delay_ms": 1}, "did you mean Produce"),
        ({"error": "NOT_LEADER"}, "did you mean NOT_LEADER_OR_FOLLOWER"),
        ({"broker": 5, "delay_ms": 1}, "there are 0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    kafka_broker: KafkaCluster, rule: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidFault, match=words):
        kafka_broker.fault(**rule)
    with pytest.raises(BadInput, match="eror: unknown; did you mean error"):
        kafka_broker.fault(eror="UNKNOWN_SERVER_ERROR")


def test_a_killed_broker_is_gone_and_comes_back_with_its_records(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t")
    producer_of(kafka_broker).send("t", b"x").get(10)
    kafka_broker.kill()
    assert kafka_broker.call("brokers")[0]["state"] == "killed"
    host, port = kafka_broker.bootstrap_servers.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    kafka_broker.start()
    assert read_all(kafka_broker, "t", 1) == [b"x"]


def test_a_paused_broker_answers_when_it_goes_on(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t")
    producer = producer_of(kafka_broker)
    producer.send("t", b"x").get(10)
    kafka_broker.pause()
    sent = producer.send("t", b"y")
    with pytest.raises(kafka.errors.KafkaTimeoutError):
        sent.get(0.3)
    kafka_broker.resume()
    sent.get(10)
    assert [record["value"] for record in kafka_broker.records("t")] == ["x", "y"]


def test_a_full_disk_refuses_records_until_there_is_room(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t")
    producer = producer_of(kafka_broker)
    kafka_broker.fill_disk()
    with pytest.raises(kafka.errors.KafkaError):
        producer.send("t", b"x").get(10)
    kafka_broker.heal_disk()
    producer.send("t", b"y").get(10)
    assert [record["value"] for record in kafka_broker.records("t")] == ["y"]


def test_retention_is_tested_without_expiring_the_consumers(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t", configs={"retention.ms": "3600000"})
    producer_of(kafka_broker).send("t", b"x").get(10)
    consumer = KafkaConsumer("t", bootstrap_servers=kafka_broker.bootstrap_servers, group_id="g")
    poll_until_stable(kafka_broker, consumer)
    kafka_broker.advance(hours=2, only="retention")
    assert kafka_broker.records("t") == []
    assert kafka_broker.wait_for_group("g")["members"], "its session has not felt the two hours"
    kafka_broker.advance(minutes=2)
    kafka_broker.wait_for_group("g", state="Empty")
    consumer.close(autocommit=False)


def test_a_frozen_clock_stamps_what_it_shows(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer]
) -> None:
    kafka_broker.create_topic("t", configs={"message.timestamp.type": "LogAppendTime"})
    producer = producer_of(kafka_broker)
    kafka_broker.freeze(at_ms=1_700_000_000_000)
    producer.send("t", b"x").get(10)
    kafka_broker.advance(seconds=1.5)
    producer.send("t", b"y").get(10)
    stamps = [record["timestamp"] for record in kafka_broker.records("t")]
    assert stamps == [1_700_000_000_000, 1_700_000_001_500]
    with pytest.raises(BadInput, match="no timers of kind tea; kinds are"):
        kafka_broker.advance(ms=1, only="tea")


def test_a_member_is_expired_and_a_group_rebalanced_at_will(kafka_broker: KafkaCluster) -> None:
    kafka_broker.create_topic("t", partitions=2)
    consumer = KafkaConsumer("t", bootstrap_servers=kafka_broker.bootstrap_servers, group_id="g")
    poll_until_stable(kafka_broker, consumer)
    kafka_broker.rebalance("g")
    assert kafka_broker.call("wait_for_group", group="g", state="PreparingRebalance")
    joined = kafka_broker.journal(api="JoinGroup")[-1]["number"]
    poll_until_stable(kafka_broker, consumer)
    assert kafka_broker.journal(api="JoinGroup", after=joined)
    (member,) = kafka_broker.expire_member("g")
    assert member.startswith("kafka-python")
    with pytest.raises(NoSuchThing, match="group 'g' has no members"):
        kafka_broker.expire_member("g")
    consumer.close(autocommit=False)


def test_waiting_that_is_in_vain_says_how_far_it_has_come(kafka_broker: KafkaCluster) -> None:
    kafka_broker.create_topic("t")
    with pytest.raises(TimedOut, match=r"after 0\.05 s 0 of 3 records are in t"):
        kafka_broker.wait_for_records("t", 3, timeout_s=0.05)
    with pytest.raises(TimedOut, match="there is no topic 'u'"):
        kafka_broker.wait_for_topic("u", timeout_s=0.05)
    with pytest.raises(TimedOut, match="there is no group 'g'"):
        kafka_broker.wait_for_group("g", timeout_s=0.05)
    with pytest.raises(TimedOut, match="0 of 1 such requests"):
        kafka_broker.wait_for(api="Produce", timeout_s=0.05)
    with pytest.raises(InvalidFault, match="no API 'Prduce'"):
        kafka_broker.wait_for(api="Prduce")


def test_a_snapshot_is_a_beginning_for_another_cluster(
    kafka_broker: KafkaCluster, producer_of: Callable[..., KafkaProducer], tmp_path: Path
) -> None:
    kafka_broker.create_topic("t")
    producer_of(kafka_broker).send("t", b"x").get(10)
    kafka_broker.snapshot(tmp_path / "snapshot")
    assert list((tmp_path / "snapshot" / "broker-0" / "t-0").glob("*.log"))
    with pytest.raises(OperationFailed, match="is not empty"):
        kafka_broker.snapshot(tmp_path / "snapshot")
    producer_of(kafka_broker).send("t", b"y").get(10)
    with KafkaCluster(snapshot=tmp_path / "snapshot") as other:
        assert read_all(other, "t", 1) == [b"x"]
        other.reset()
        assert read_all(other, "t", 1) == [b"x"]


def test_a_cluster_in_its_own_process_does_the_same(producer_of: Callable[..., KafkaProducer]) -> None:
    with KafkaCluster(process=True, seed=SEED) as cluster:
        assert read_all(cluster, "drinks", 2) == [b"black", b"green"]
        cluster.fault(api="Produce", error="MESSAGE_TOO_LARGE")
        with pytest.raises(kafka.errors.MessageSizeTooLargeError):
            producer_of(cluster).send("drinks", b"x").get(10)
        with pytest.raises(InvalidFault, match="did you mean Produce"):
            cluster.fault(api="Prodce", delay_ms=1)
        assert "Produce v" in cluster.dump()
        cluster.reset()
        assert len(cluster.records("drinks")) == 2


async def test_it_serves_the_clients_of_a_trio_test(kafka_broker: KafkaCluster) -> None:
    host, port = kafka_broker.bootstrap_servers.split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(bytes.fromhex("0000000a 0012 0000 00000001 0000"))
    with trio.fail_after(10):
        assert await stream.receive_some(4)
    await stream.aclose()


def test_it_serves_the_clients_of_an_asyncio_program(kafka_broker: KafkaCluster) -> None:
    import asyncio

    async def produce() -> int:
        producer = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers)
        await producer.start()
        try:
            return int((await producer.send_and_wait("t", b"x")).offset)
        finally:
            await producer.stop()

    assert asyncio.run(produce()) == 0


def test_brokers_of_before_a_reset_are_not_kept_from_the_garbage_collector() -> None:
    set_aside = gc.get_freeze_count()
    with contextlib.closing(KafkaCluster()) as cluster:
        cluster.create_topic("many", partitions=PARTITIONS_SET_ASIDE)
        assert gc.get_freeze_count() == set_aside
