"""Leaders, in-sync replicas, epochs and disks of a test's cluster, at its will; clients of others look on."""

from collections.abc import Callable, Iterable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from interop.support.waiting import wait_until
from pybroker.control.operations import NoSuchThing, OperationFailed
from pybroker.testing import KafkaCluster

Clusters = Callable[..., KafkaCluster]


@pytest.fixture
def cluster(kafka_cluster: Clusters) -> KafkaCluster:
    """Three brokers with a topic that all of them have."""
    made = kafka_cluster(brokers=3)
    made.create_topic("t", replication_factor=3)
    return made


def seen(cluster: KafkaCluster) -> tuple[int, set[int]]:
    """Leader and ISR as a client is told of them."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    partition = admin.list_topics("t", timeout=10).topics["t"].partitions[0]
    return partition.leader, set(partition.isrs)


def test_a_moved_leader_is_what_clients_see(cluster: KafkaCluster) -> None:
    leader, _ = seen(cluster)
    other = (leader + 1) % 3
    cluster.move_leader("t", to=other)
    assert seen(cluster)[0] == other


@pytest.mark.parametrize("stopped", range(3))
def test_an_isr_below_the_minimum_refuses_producers(cluster: KafkaCluster, stopped: int) -> None:
    """Whoever hangs, the controller's own broker or one that it cannot reach."""
    cluster.create_topic("strict", replication_factor=3, configs={"min.insync.replicas": "3"})
    cluster.move_leader("strict", to=(stopped + 1) % 3)
    cluster.pause(stopped)  # it would copy on, and be taken in again at once
    cluster.set_isr("strict", isr=[broker for broker in range(3) if broker != stopped])
    outcome: list[object] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "message.timeout.ms": 1500})
    producer.produce("strict", b"x", on_delivery=lambda error, _message: outcome.append(error))
    cluster.wait_for(api="Produce", topic="strict", error="NOT_ENOUGH_REPLICAS")
    cluster.resume(stopped)
    producer.flush(10)
    assert len(outcome) == 1


def test_a_bumped_epoch_keeps_the_leader(cluster: KafkaCluster) -> None:
    before = seen(cluster)
    cluster.bump_epoch("t")
    assert seen(cluster) == before


def test_what_cannot_lead_is_refused(cluster: KafkaCluster) -> None:
    with pytest.raises(NoSuchThing, match="no broker 7"):
        cluster.move_leader("t", to=7)
    cluster.stop(2)
    with pytest.raises(OperationFailed, match="broker 2 runs no replica of t-0"):
        cluster.move_leader("t", to=2)
    with pytest.raises(OperationFailed, match="there is no partition u-0"):
        cluster.bump_epoch("u")


def test_a_failed_disk_takes_its_partitions_along_and_leaves_the_broker(kafka_cluster: Clusters) -> None:
    cluster = kafka_cluster(log_dirs=2)
    cluster.create_topic("t", partitions=4)
    cluster.fail_disk(0, log_dir=1)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})

    def without_leader() -> set[int]:
        found = admin.list_topics("t", timeout=10).topics["t"].partitions
        return {index for index, partition in found.items() if partition.leader < 0}

    wait_until(lambda: len(without_leader()) == 2, "two partitions without a leader")
    lost = without_leader()
    refused: dict[int, bool] = {}
    for partition in range(4):
        timeout_ms = 1500 if partition in lost else 30_000
        producer = Producer(
            {"bootstrap.servers": cluster.bootstrap_servers, "message.timeout.ms": timeout_ms}
        )
        producer.produce(
            "t",
            b"x",
            partition=partition,
            on_delivery=lambda error, message: refused.update({message.partition(): error is not None}),
        )
        producer.flush(40)
    assert refused == {partition: partition in lost for partition in range(4)}
    with pytest.raises(NoSuchThing, match="log directories 0 to 1"):
        cluster.fail_disk(0, log_dir=2)


def test_the_others_lead_what_was_on_a_failed_disk(kafka_cluster: Clusters) -> None:
    cluster = kafka_cluster(brokers=3, log_dirs=2)
    cluster.create_topic("t", partitions=6, replication_factor=3)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})

    def partitions() -> Iterable[tuple[int, set[int]]]:
        found = admin.list_topics("t", timeout=10).topics["t"].partitions.values()
        return [(partition.leader, set(partition.isrs)) for partition in found]

    failed: list[object] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all"})

    def produce() -> None:
        for partition in range(6):
            producer.produce(
                "t", b"x", partition=partition, on_delivery=lambda error, _: error and failed.append(error)
            )
        assert producer.flush(20) == 0

    produce()
    led_before = sum(leader == 1 for leader, _ in partitions())
    cluster.fail_disk(1, log_dir=1)
    produce()
    wait_until(lambda: any(1 not in isr for _, isr in partitions()), "replicas out of sync")
    assert any(1 in isr for _, isr in partitions())  # those on the disk that is left
    assert all(leader in isr for leader, isr in partitions())
    assert 0 < sum(leader == 1 for leader, _ in partitions()) < led_before
    cluster.heal_disk(1, log_dir=1)
    cluster.restart(1)
    wait_until(lambda: all(isr == {0, 1, 2} for _, isr in partitions()), "all replicas in sync again")
    produce()
    assert failed == []
