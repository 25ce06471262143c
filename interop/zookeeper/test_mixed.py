"""One cluster of Apache Kafka 3.9 and pybroker: either is the controller, either leads, the other follows."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewPartitions, NewTopic

from interop.support.servers import ApacheKafkaServer, PybrokerServer, Server
from interop.support.waiting import wait_until
from interop.support.zookeeper import ZooKeeperServer

TIMEOUT_S = 30
CHROOT = "/mixed"
KAFKA, PYBROKER = 1, 2
TOPIC = "shared"
REPLICAS = ([KAFKA, PYBROKER], [PYBROKER, KAFKA])
SETTINGS = {
    "default.replication.factor": "2",
    "offsets.topic.num.partitions": "2",
    "offsets.topic.replication.factor": "2",
    "replica.lag.time.max.ms": "5000",
    "zookeeper.session.timeout.ms": "6000",
    "controlled.shutdown.enable": "true",
    # Either would give partitions back to their preferred leaders five seconds after its election.
    "auto.leader.rebalance.enable": "false",
}


class Mixed:
    """Both brokers and a way to wait until both say the same of the cluster."""

    def __init__(self, zookeeper: ZooKeeperServer) -> None:
        self.zookeeper = zookeeper
        self.kafka = ApacheKafkaServer(
            {**SETTINGS, "broker.id": str(KAFKA)}, zookeeper=zookeeper, chroot=CHROOT
        )
        connect = f"{zookeeper.address}{CHROOT}"
        self.pybroker = PybrokerServer({**SETTINGS, "broker.id": str(PYBROKER), "zookeeper.connect": connect})

    @property
    def both(self) -> tuple[Server, Server]:
        return self.kafka, self.pybroker

    def wait_for_brokers(self, controller: int) -> None:
        """Each broker names both, and this controller."""
        for server in self.both:
            wait_until(
                lambda server=server: _knows(metadata(server), {KAFKA, PYBROKER}, controller),
                f"{server.name} to know both brokers, and {controller} as the controller",
                TIMEOUT_S,
            )

    def wait_for_isr(self, topic: str, expected: list[tuple[int, set[int]]]) -> None:
        """Both brokers name these leaders and in-sync replicas, by partition."""
        for server in self.both:
            if server.is_running:
                wait_until(
                    lambda server=server: partitions(server, topic) == expected,
                    f"{server.name} to say {expected} of {topic}",
                    TIMEOUT_S,
                )

    def stop(self) -> None:
        self.pybroker.stop()
        self.kafka.stop()


def metadata(server: Server) -> ClusterMetadata:
    return AdminClient({"bootstrap.servers": server.bootstrap}).list_topics(timeout=TIMEOUT_S)


def _knows(found: ClusterMetadata, brokers: set[int], controller: int) -> bool:
    return set(found.brokers) == brokers and found.controller_id == controller


def partitions(server: Server, topic: str) -> list[tuple[int, set[int]]]:
    """Leader and in-sync replicas by partition, as one broker says."""
    found = metadata(server).topics.get(topic)
    if found is None:
        return []
    return [(p.leader, set(p.isrs)) for _, p in sorted(found.partitions.items())]


@pytest.fixture
def mixed() -> Iterator[Mixed]:
    zookeeper = ZooKeeperServer()
    mixed = Mixed(zookeeper)
    try:
        zookeeper.start()
        yield mixed
    finally:
        mixed.stop()
        zookeeper.stop()


def create(server: Server, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    wanted = NewTopic(topic, len(REPLICAS), -1, replica_assignment=[list(ids) for ids in REPLICAS])
    for future in admin.create_topics([wanted]).values():
        future.result(TIMEOUT_S)


def produce(server: Server, topic: str, text: str, count: int) -> None:
    """`count` records to each partition, acknowledged by all in-sync replicas."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": server.bootstrap, "enable.idempotence": True})
    for number in range(count):
        for partition in range(len(REPLICAS)):
            producer.produce(
                topic,
                f"{text} {number}",
                partition=partition,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
    assert producer.flush(TIMEOUT_S) == 0
    assert not failures


def consume(server: Server, topic: str, count: int) -> list[list[str]]:
    """The values of each partition, in order."""
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(len(REPLICAS))])
    found: list[list[str]] = [[] for _ in REPLICAS]

    def has_all() -> bool:
        for message in consumer.consume(100, 0.5):
            assert message.error() is None, message.error()
            found[message.partition()].append(message.value().decode())
        return sum(map(len, found)) >= count * len(REPLICAS)

    try:
        wait_until(has_all, f"{count} records of each partition", TIMEOUT_S)
    finally:
        consumer.close()
    return found


@pytest.mark.whole
def test_pybroker_joins_a_cluster_of_apache_kafka(mixed: Mixed) -> None:
    mixed.kafka.start()
    mixed.pybroker.start()
    mixed.wait_for_brokers(controller=KAFKA)
    create(mixed.kafka, TOPIC)
    mixed.wait_for_isr(TOPIC, [(ids[0], set(ids)) for ids in REPLICAS])
    produce(mixed.kafka, TOPIC, "by way of kafka", 20)
    produce(mixed.pybroker, TOPIC, "by way of pybroker", 20)
    expected = [f"by way of {name} {number}" for name in ("kafka", "pybroker") for number in range(20)]
    for server in mixed.both:
        assert consume(server, TOPIC, 40) == [expected] * len(REPLICAS)
    for server in mixed.both:
        create(server, f"by-{server.name}")
        mixed.wait_for_isr(f"by-{server.name}", [(ids[0], set(ids)) for ids in REPLICAS])
    admin = AdminClient({"bootstrap.servers": mixed.pybroker.bootstrap})
    admin.delete_topics([f"by-{mixed.kafka.name}"])
    mixed.wait_for_isr(f"by-{mixed.kafka.name}", [])

    mixed.pybroker.kill9()
    mixed.wait_for_isr(TOPIC, [(KAFKA, {KAFKA})] * 2)
    mixed.pybroker.restart()
    mixed.wait_for_isr(TOPIC, [(KAFKA, {KAFKA, PYBROKER})] * 2)
    assert consume(mixed.pybroker, TOPIC, 40) == [expected] * len(REPLICAS)


@pytest.mark.whole
def test_apache_kafka_obeys_pybroker(mixed: Mixed) -> None:
    mixed.pybroker.start()
    mixed.kafka.start()
    mixed.wait_for_brokers(controller=PYBROKER)
    create(mixed.kafka, TOPIC)
    mixed.wait_for_isr(TOPIC, [(ids[0], set(ids)) for ids in REPLICAS])
    produce(mixed.kafka, TOPIC, "before", 20)

    mixed.kafka.stop_process()
    mixed.wait_for_isr(TOPIC, [(PYBROKER, {PYBROKER})] * 2)
    mixed.kafka.start()
    mixed.wait_for_isr(TOPIC, [(PYBROKER, {KAFKA, PYBROKER})] * 2)

    mixed.pybroker.stop_process()
    mixed.wait_for_isr(TOPIC, [(KAFKA, {KAFKA})] * 2)
    mixed.pybroker.start()
    mixed.wait_for_brokers(controller=KAFKA)
    mixed.wait_for_isr(TOPIC, [(KAFKA, {KAFKA, PYBROKER})] * 2)
    produce(mixed.pybroker, TOPIC, "after", 20)
    expected = [f"{when} {number}" for when in ("before", "after") for number in range(20)]
    for server in mixed.both:
        assert consume(server, TOPIC, 40) == [expected] * len(REPLICAS)
    admin = AdminClient({"bootstrap.servers": mixed.pybroker.bootstrap})
    for future in admin.create_partitions([NewPartitions(TOPIC, 3)]).values():
        future.result(TIMEOUT_S)
