"""Three brokers are restarted one after the other, as an operator does it: clients see no error."""

from collections.abc import Iterator

import pytest

from interop.soak.load import Load
from interop.support.cluster import BROKER_IDS, BrokerCluster
from interop.support.waiting import wait_until
from pybroker.model.ids import TopicPartition
from tests.support.history import wrong_in_commits, wrong_in_log, wrong_in_replicas

pytestmark = pytest.mark.whole

TOPIC = "rolled"
PARTITIONS = 6
TOPICS = (TOPIC, "__consumer_offsets")


@pytest.fixture
def cluster() -> Iterator[BrokerCluster]:
    cluster = BrokerCluster({"num.partitions": str(PARTITIONS)})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        cluster.remove()


def test_a_rolling_restart_costs_clients_nothing(cluster: BrokerCluster) -> None:
    load = Load(cluster.bootstrap, TOPIC, PARTITIONS)
    load.start()
    try:
        wait_until(lambda: load.acknowledged > 200 and load.history.commits, "a first load", 60)
        cluster.wait_until_whole(TOPICS)
        for broker_id in BROKER_IDS:
            before = load.acknowledged
            cluster.brokers[broker_id].stop_process()
            cluster.brokers[broker_id].start()
            took_s = cluster.wait_until_whole(TOPICS)
            print(
                f"broker {broker_id}: {load.acknowledged - before} acknowledged, whole after {took_s:.1f} s"
            )
    finally:
        load.stop()
    print(f"{load.acknowledged} acknowledged, {load.consumed} consumed, {dict(load.trouble)}")
    wrong = load.errors
    for index in range(PARTITIONS):
        wrong += wrong_in_log(load.history, TopicPartition(TOPIC, index), load.log(index))
    wrong += wrong_in_commits(load.history, load.committed())
    for broker_id in BROKER_IDS:
        cluster.brokers[broker_id].stop_process()
    for topic in TOPICS:
        for tp, replicas in cluster.replicas(topic).items():
            wrong += wrong_in_replicas(tp, replicas)
    assert wrong == []
    # A connection that ends with its broker is not an error of the application's.
    assert set(load.trouble) <= {"_TRANSPORT"}
