"""What 1,000 topics of 3 partitions cost three brokers, beside Apache Kafka with the same settings.

Run ``python -m interop.benchmarks.scale [--quick] [--rounds 3] [--systems a,b] [--json FILE]``. A round is a
new cluster of each: three replicas, acks=all. It takes the time to create the topics by ten requests, until
every broker knows all leaders; to replace the controller (its znode is deleted; until another one has
created a topic); and to restart the broker that is the controller then, until every ISR is full again. The
time of a single record with acks=all is taken before and with all these topics. A quick run has 100 topics.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from interop.benchmarks.client import parse_options
from interop.benchmarks.clusters import BROKER_IDS, KINDS, ClusterUnderTest, running_clusters
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.support.waiting import wait_until

ROUNDS = 3
TOPICS, QUICK_TOPICS = 1000, 100
PARTITIONS = 3
REQUESTS = 10
TOPIC = "single"
RECORDS = 300
CREATED, REPLACED = "create the topics, s", "replace the controller, s"
STOPPED, WHOLE = "stop the controller's broker, s", "its start until all ISRs are full, s"
BEFORE, WITH = "acks=all p50 before, ms", "acks=all p50 with them, ms"
GROWTH = "acks=all p50 with them / before"
TARGETS = [
    Target(figure, "pybroker", 1.1, "kafka", at_least=False) for figure in (CREATED, REPLACED, STOPPED, WHOLE)
]
WITHIN_S = 300


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("scale", options.rounds, (KINDS,))
    count = QUICK_TOPICS if options.quick else TOPICS
    names = [name for name in KINDS if name in options.systems]
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            with running_clusters([name]) as (cluster,):
                for figure, value in measure(cluster, count):
                    progress(f"round {number + 1} of {options.rounds}: {name}: {figure}: {value:.3f}")
                    figures.add(figure, name, value)
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


def measure(cluster: ClusterUnderTest, count: int) -> Iterator[tuple[str, float]]:
    """All figures of one cluster, one after the other."""
    cluster.create_topic(TOPIC)
    before = latency_ms(cluster)
    yield BEFORE, before
    topics = [f"topic-{number}" for number in range(count)]
    yield CREATED, seconds(lambda: create(cluster, topics))
    cluster.wait_until_whole(topics)
    with_them = latency_ms(cluster)
    yield WITH, with_them
    yield GROWTH, with_them / before
    yield REPLACED, seconds(lambda: replace_controller(cluster))
    controller = cluster.controller()
    yield STOPPED, seconds(cluster.brokers[controller].stop_process)
    yield WHOLE, seconds(lambda: restart(cluster, controller, topics))


def seconds(work: Callable[[], object]) -> float:
    started_at = time.monotonic()
    work()
    return time.monotonic() - started_at


def latency_ms(cluster: ClusterUnderTest) -> float:
    """The median time of a record that is sent alone, from the call to the acknowledgement by all."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0})
    times = []
    for _ in range(RECORDS):
        started_at = time.monotonic()
        producer.produce(TOPIC, b"x" * 100, partition=0)
        assert producer.flush(30) == 0
        times.append((time.monotonic() - started_at) * 1000)
    return statistics.median(times[RECORDS // 10 :])


def create(cluster: ClusterUnderTest, topics: list[str]) -> None:
    admin = cluster.admin()
    size = -(-len(topics) // REQUESTS)
    for first in range(0, len(topics), size):
        asked = [NewTopic(topic, PARTITIONS, len(BROKER_IDS)) for topic in topics[first : first + size]]
        futures = admin.create_topics(asked, operation_timeout=WITHIN_S, request_timeout=WITHIN_S)
        for future in futures.values():
            future.result()
    for broker in cluster.brokers.values():
        wait_until(partial(knows_leaders, broker.bootstrap, topics), "all leaders", WITHIN_S)


def knows_leaders(bootstrap: str, topics: list[str]) -> bool:
    """Whether one broker names a leader for every partition of the topics."""
    with suppress(KafkaException):
        found = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=10).topics
        return all(
            topic in found
            and len(found[topic].partitions) == PARTITIONS
            and all(partition.leader >= 0 for partition in found[topic].partitions.values())
            for topic in topics
        )
    return False


def replace_controller(cluster: ClusterUnderTest) -> None:
    """Until the next controller, which may be the same broker, has done something."""
    epoch = cluster.controller_epoch()
    cluster.depose_controller()
    wait_until(lambda: cluster.controller_epoch() > epoch, "another controller", WITHIN_S)

    def acts() -> bool:
        admin = cluster.admin()
        future = admin.create_topics([NewTopic(f"after-{epoch}", 1, len(BROKER_IDS))])
        try:
            next(iter(future.values())).result()
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS)
        return True

    wait_until(acts, "a topic by another controller", WITHIN_S)


def restart(cluster: ClusterUnderTest, broker_id: int, topics: list[str]) -> None:
    cluster.brokers[broker_id].start()
    cluster.wait_until_whole(topics)


if __name__ == "__main__":
    sys.exit(main())
