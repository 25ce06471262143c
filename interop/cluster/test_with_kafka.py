"""Two pybrokers and an Apache Kafka 3.9 are one cluster: each leads, each follows, all hold the same bytes.

Every broker is killed once, the controller among them, while stock clients go on.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from interop.support.cluster import batches_in
from interop.support.servers import ApacheKafkaServer, PybrokerServer
from interop.support.waiting import wait_until
from interop.support.zookeeper import ZooKeeperServer
from pybroker.model.ids import TopicPartition
from tests.support.history import wrong_in_replicas

pytestmark = pytest.mark.whole

TOPIC = "mixed"
PARTITIONS = 6
RECORDS = 3000
SETTINGS = {
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "6",
    "min.insync.replicas": "2",
    "zookeeper.session.timeout.ms": "6000",
    "replica.lag.time.max.ms": "10000",
    "log.cleaner.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
}


class MixedCluster:
    """Brokers 0 and 1 are ours, 2 is Kafka's."""

    def __init__(self) -> None:
        self.zookeeper = ZooKeeperServer("tools-3.9")
        ours = {**SETTINGS, "zookeeper.connect": self.zookeeper.address}
        self.brokers: dict[int, PybrokerServer | ApacheKafkaServer] = {
            0: PybrokerServer({**ours, "broker.id": "0"}),
            1: PybrokerServer({**ours, "broker.id": "1"}),
            2: ApacheKafkaServer({**SETTINGS, "broker.id": "2"}, zookeeper=self.zookeeper),
        }

    def start(self) -> None:
        self.zookeeper.start()
        for broker in self.brokers.values():
            broker.start()

    def stop(self) -> None:
        for broker in self.brokers.values():
            broker.stop()
        self.zookeeper.stop()

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    @property
    def data(self) -> dict[int, Path]:
        return {broker_id: broker.folder / "data" for broker_id, broker in self.brokers.items()}

    def wait_until_registered(self, broker_id: int, *, is_there: bool) -> None:
        def is_so() -> bool:
            return (str(broker_id) in (self.zookeeper.children("/brokers/ids") or ())) == is_there

        wait_until(is_so, f"broker {broker_id} {'in' if is_there else 'out of'} ZooKeeper", 30)

    def wait_until_whole(self) -> set[int]:
        """Until all replicas are in sync. Returns who leads."""
        leaders: set[int] = set()

        def is_whole() -> bool:
            with suppress(KafkaException):
                admin = AdminClient({"bootstrap.servers": self.bootstrap})
                partitions = admin.list_topics(TOPIC, timeout=5).topics[TOPIC].partitions.values()
                leaders.clear()
                leaders.update(one.leader for one in partitions)
                return len(partitions) == PARTITIONS and all(len(one.isrs) == 3 for one in partitions)
            return False

        wait_until(is_whole, "all replicas in sync", 60)
        return leaders

    def produce(self, tag: str) -> None:
        """Idempotent, and acknowledged by all."""
        failed = []
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "log_level": 0})
        for number in range(RECORDS):
            producer.produce(
                TOPIC,
                f"{tag}-{number}".encode(),
                partition=number % PARTITIONS,
                on_delivery=lambda error, _message: failed.append(error) if error else None,
            )
            producer.poll(0)
        assert producer.flush(90) == 0
        assert not failed


@pytest.fixture
def cluster() -> Iterator[MixedCluster]:
    mixed = MixedCluster()
    try:
        mixed.start()
        yield mixed
    finally:
        mixed.stop()


def test_brokers_of_both_kinds_replicate_each_other(cluster: MixedCluster) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result(60)
    assert cluster.wait_until_whole() == {0, 1, 2}
    cluster.produce("first")
    for victim in (2, 0, 1):
        cluster.brokers[victim].kill9()
        cluster.wait_until_registered(victim, is_there=False)
        cluster.produce(f"without-{victim}")
        cluster.brokers[victim].start()
        cluster.wait_until_whole()
        cluster.produce(f"again-with-{victim}")
    assert consumed(cluster.bootstrap) == 7 * RECORDS
    cluster.wait_until_whole()
    folders = cluster.data
    for broker in cluster.brokers.values():
        broker.stop_process()
    for topic in (TOPIC, "__consumer_offsets"):
        for directory in sorted(folders[0].glob(f"{topic}-*")):
            tp = TopicPartition(topic, int(directory.name.rpartition("-")[2]))
            replicas = {
                broker_id: batches_in(folder / directory.name) for broker_id, folder in folders.items()
            }
            assert wrong_in_replicas(tp, replicas) == []
            assert topic != TOPIC or replicas[0]


def consumed(bootstrap: str) -> int:
    """How many records a group reads from all partitions; it commits at the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readers",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([TOPIC])
    count = 0

    def reads_on() -> bool:
        nonlocal count
        found = [message for message in consumer.consume(1000, 2.0) if not message.error()]
        count += len(found)
        return count >= 7 * RECORDS

    try:
        wait_until(reads_on, "all records read", 60)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return count
