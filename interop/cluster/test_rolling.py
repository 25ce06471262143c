"""Three brokers are restarted one after the other, as an operator does it: clients see no error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from interop.java.load import JavaLoad, Read
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
        roll(cluster, lambda: load.acknowledged)
    finally:
        load.stop()
    print(f"{load.acknowledged} acknowledged, {load.consumed} consumed, {dict(load.trouble)}")
    wrong = load.errors
    for index in range(PARTITIONS):
        wrong += wrong_in_log(load.history, TopicPartition(TOPIC, index), load.log(index))
    wrong += wrong_in_commits(load.history, load.committed())
    wrong += wrong_on_disk(cluster)
    assert wrong == []
    # A connection that ends with its broker is not an error of the application's.
    assert set(load.trouble) <= {"_TRANSPORT"}


def test_a_rolling_restart_costs_java_clients_nothing(cluster: BrokerCluster) -> None:
    """No exception reaches the application, no member loses a partition, every record is given once."""
    with ExitStack() as stack:
        loads = []
        for set_name, protocols in (("clients-3.9", ["classic"]), ("clients-4", ["classic", "consumer"])):
            load = JavaLoad(set_name, cluster.bootstrap, TOPIC, PARTITIONS, protocols)
            stack.callback(load.close)
            loads.append(load)
        for load in loads:
            wait_until(lambda load=load: load.is_settled() and load.acknowledged() > 200, "a first load", 90)
        roll(cluster, lambda: sum(load.acknowledged() for load in loads))
        for load in loads:
            load.stop()
        wrong = [error for load in loads for error in load.errors]
        for load in loads:
            for read in load.reads:
                wrong += wrong_in_group(read)
                for index in range(PARTITIONS):
                    tp = TopicPartition(TOPIC, index)
                    log = [sent for where, _, sent in read.records if where == tp]
                    wrong += wrong_in_log(load.history, tp, log)
    wrong += wrong_on_disk(cluster)
    assert wrong == []


def roll(cluster: BrokerCluster, acknowledged: Callable[[], int]) -> None:
    """Restarts one broker after the other, each when the one before is back in every ISR."""
    cluster.wait_until_whole(TOPICS)
    for broker_id in BROKER_IDS:
        before = acknowledged()
        cluster.brokers[broker_id].stop_process()
        cluster.brokers[broker_id].start()
        took_s = cluster.wait_until_whole(TOPICS)
        print(f"broker {broker_id}: {acknowledged() - before} acknowledged, whole after {took_s:.1f} s")


def wrong_in_group(read: Read) -> list[str]:
    """Partitions that were taken from a member, and records that were left out or given again."""
    wrong = [f"{read.group}: {read.rebalances} times partitions were taken away"] if read.rebalances else []
    next_offset: dict[TopicPartition, int] = {}
    for tp, offset, _ in read.records:
        expected = next_offset.get(tp, 0)
        if offset != expected:
            wrong.append(f"{read.group}: {tp}: offset {offset} was given, not {expected}")
        next_offset[tp] = offset + 1
    return wrong


def wrong_on_disk(cluster: BrokerCluster) -> list[str]:
    """Stops the cluster, and compares the replicas of its partitions."""
    for broker_id in BROKER_IDS:
        cluster.brokers[broker_id].stop_process()
    wrong: list[str] = []
    for topic in TOPICS:
        for tp, replicas in cluster.replicas(topic).items():
            wrong += wrong_in_replicas(tp, replicas)
    return wrong
