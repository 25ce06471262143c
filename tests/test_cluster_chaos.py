"""Three brokers in trouble, real clients at work: the short form of ``make soak KIND=cluster-chaos``."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ClusterMetadata

from interop.soak.load import Load
from interop.support.cluster import BROKER_IDS, replicas_on_disk, sees_all_in_sync
from interop.support.waiting import wait_until
from pybroker.model.ids import TopicPartition
from pybroker.testing import KafkaCluster
from tests.support.history import wrong_in_commits, wrong_in_log, wrong_in_replicas

TOPIC = "chaos"
PARTITIONS = 3
PROPERTIES = {
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "3",
    "replica.lag.time.max.ms": "600",
    "replica.socket.timeout.ms": "2000",
    "replica.fetch.backoff.ms": "100",
    "controlled.shutdown.retry.backoff.ms": "50",
    "log.cleaner.enable": "false",
}


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=3, process=True, properties=PROPERTIES) as cluster:
        cluster.create_topic(TOPIC, partitions=PARTITIONS, replication_factor=3)
        yield cluster


class Trouble:
    """What befalls the cluster, each time at a place that chance chooses."""

    def __init__(self, cluster: KafkaCluster, load: Load, seed: int) -> None:
        self._cluster = cluster
        self._load = load
        self._rng = random.Random(seed)

    def in_some_order(self) -> list[Callable[[], None]]:
        kinds = [self.kill_a_leader, self.kill_the_controller, self.hang, self.cut_a_link, self.restart]
        self._rng.shuffle(kinds)
        return kinds

    def kill_a_leader(self) -> None:
        partitions = self._admin().list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        self._kill(partitions[self._rng.randrange(PARTITIONS)].leader)

    def kill_the_controller(self) -> None:
        self._kill(self._admin().list_topics(timeout=10).controller_id)

    def _kill(self, broker: int) -> None:
        """It comes back at once, or when the others go on without it."""
        self._cluster.kill(broker)
        if self._rng.random() < 0.5:
            wait_until(lambda: broker not in self._seen_by_others(broker).brokers, "word of its end")
        self._cluster.start(broker)

    def restart(self) -> None:
        self._cluster.restart(self._rng.choice(BROKER_IDS))

    def hang(self) -> None:
        """While it answers nobody, the others take so many records."""
        partitions = self._admin().list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        leaders = {one.leader for one in partitions.values()}
        broker = self._rng.choice([one for one in BROKER_IDS if leaders != {one}])
        self._cluster.pause(broker)
        try:
            enough = self._load.acknowledged + self._rng.randrange(200, 400)
            wait_until(lambda: self._load.acknowledged > enough, "records at the others")
        finally:
            self._cluster.resume(broker)

    def cut_a_link(self) -> None:
        """Neither of two brokers can copy from the other, until each has taken the other out of the ISR."""
        one, other = self._rng.sample(BROKER_IDS, 2)
        with ExitStack() as cut:
            for follower, leader in ((one, other), (other, one)):
                client = f"broker-{follower}-fetcher-*"
                cut.enter_context(
                    self._cluster.fault(
                        api="Fetch", broker=leader, client_id=client, action="close", times=None
                    )
                )
            wait_until(
                lambda: self._is_apart(one, from_={other}) and self._is_apart(other, from_={one}),
                "smaller ISRs",
            )

    def _is_apart(self, leader: int, from_: set[int]) -> bool:
        """Whether some replicas are not in sync with a leader, where it leads."""
        partitions = self._seen_by_others(leader).topics[TOPIC].partitions.values()
        return not any(from_ & set(one.isrs) for one in partitions if one.leader == leader)

    def _seen_by_others(self, broker: int) -> ClusterMetadata:
        """What a broker that is well knows of the cluster."""
        another = next(one for one in BROKER_IDS if one != broker)
        return AdminClient({"bootstrap.servers": self._cluster.address(another)}).list_topics(timeout=10)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self._cluster.bootstrap_servers})


def test_what_was_acknowledged_is_there_once_and_in_order_on_all_replicas(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    load = Load(cluster.bootstrap_servers, TOPIC, PARTITIONS)
    load.start()
    try:
        wait_until(lambda: load.acknowledged > 50 and load.history.commits, "a first load")
        for befalls in Trouble(cluster, load, seed=3).in_some_order():
            befalls()
            for broker in BROKER_IDS:
                address = cluster.address(broker)
                wait_until(lambda one=address: sees_all_in_sync(one, [TOPIC]), befalls.__name__)
    finally:
        load.stop()
    wrong = load.errors
    for index in range(PARTITIONS):
        wrong += wrong_in_log(load.history, TopicPartition(TOPIC, index), load.log(index))
    wrong += wrong_in_commits(load.history, load.committed())
    cluster.snapshot(tmp_path / "data")
    for topic in (TOPIC, "__consumer_offsets"):
        found = replicas_on_disk({one: tmp_path / "data" / f"broker-{one}" for one in BROKER_IDS}, topic)
        assert {len(replicas) for replicas in found.values()} == {3}
        for tp, replicas in found.items():
            wrong += wrong_in_replicas(tp, replicas)
    assert wrong == []
    assert load.acknowledged > 500
