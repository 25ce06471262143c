"""How long a producer waits when the leader is killed, beside Apache Kafka with the same settings.

Run ``python -m interop.benchmarks.failover [--quick] [--rounds 20] [--systems a,b] [--json FILE]``. Three
brokers, three replicas, min.insync.replicas 2, acks=all; sessions of 6 s. A round sends single records all
the time, kills the leader with SIGKILL, and takes the time until the next record is acknowledged: from the
kill, and from the end of the killed broker's session, before which nobody can know.
"""

import sys
import threading
import time

from confluent_kafka import KafkaError, Message, Producer

from interop.benchmarks.client import parse_options
from interop.benchmarks.clusters import KINDS, ClusterUnderTest, running_clusters
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.support.waiting import wait_until

ROUNDS = 20
TOPIC = "failover"
FROM_KILL, FROM_SESSION_END = "kill -9 to the next ack, s", "session's end to the next ack, s"
TARGETS = [
    Target(FROM_KILL, "pybroker", 1.1, "kafka", at_least=False),
    Target(FROM_SESSION_END, "pybroker", 1.1, "kafka", at_least=False),
]
SETTLE_S = 1.0


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("failover", options.rounds, (KINDS,))
    with running_clusters(options.systems) as clusters:
        for cluster in clusters:
            cluster.create_topic(TOPIC)
        for number in range(options.rounds):
            for cluster in clusters:
                from_kill, from_end = fail_over(cluster)
                progress(
                    f"round {number + 1} of {options.rounds}: {cluster.name} {from_kill:.2f} s, "
                    f"{from_end:.3f} s beyond the session"
                )
                figures.add(FROM_KILL, cluster.name, from_kill)
                figures.add(FROM_SESSION_END, cluster.name, from_end)
    holds = report(figures, TARGETS, options.json, add=options.add)
    for figure, by_system in figures.samples.items():
        worst = ", ".join(f"{system} {max(samples):.2f}" for system, samples in by_system.items())
        sys.stdout.write(f"worst {figure}: {worst}\n")
    return 0 if holds else 1


def fail_over(cluster: ClusterUnderTest) -> tuple[float, float]:
    """One kill, and the way back to a whole cluster."""
    stream = Stream(cluster.bootstrap)
    try:
        wait_until(lambda: stream.acknowledged > 20, "a first stream of records", 30)
        leader = cluster.leader(TOPIC)
        killed_at = time.monotonic()
        cluster.brokers[leader].kill9()
        gone_at = cluster.gone_at(leader)
        wait_until(lambda: stream.last_at > gone_at, "an acknowledgement by the next leader", 60)
        first_at = next(at for at in stream.times if at > killed_at + SETTLE_S)
    finally:
        stream.close()
    cluster.brokers[leader].start()
    cluster.wait_until_whole([TOPIC])
    time.sleep(SETTLE_S)
    return first_at - killed_at, first_at - gone_at


class Stream:
    """A producer that sends a record every 5 ms, and notes when each was acknowledged."""

    def __init__(self, bootstrap: str) -> None:
        self.times: list[float] = []
        self._ending = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 0,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "retry.backoff.ms": 20,
                "retry.backoff.max.ms": 100,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.refresh.fast.interval.ms": 50,
            }
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def acknowledged(self) -> int:
        return len(self.times)

    @property
    def last_at(self) -> float:
        return self.times[-1] if self.times else 0.0

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._producer.produce(TOPIC, b"x" * 100, partition=0, on_delivery=self._delivered)
            self._producer.poll(0.005)
        self._producer.flush(30)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.times.append(time.monotonic())


if __name__ == "__main__":
    sys.exit(main())
