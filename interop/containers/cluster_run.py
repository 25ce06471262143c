"""The cluster of `docker/compose.yaml` in trouble and rolled, under load: what is acknowledged must be there.

Run ``python -m interop.containers.cluster_run [--rounds 6] [--seed 1]`` (``make cluster-test``). It builds
the image, starts the cluster, and keeps idempotent producers (acks=all) and a group of consumers at work
while

- each round kills the leader of a partition or any broker, or ZooKeeper, and starts it again,
- then all brokers are stopped and started one after the other, as an operator rolls them.

Ends with 1 when an acknowledged record is missing, is there twice or out of its producer's order, when a
committed offset moved back, when replicas differ in a single batch, when a client saw an error that it must
not see, or when a broker that was told to stop had to be killed.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from msgspec import Struct, field

from interop.containers.compose import BROKERS, ZOOKEEPER, ComposeCluster
from interop.soak.load import Load
from interop.support.cluster import replicas_on_disk
from interop.support.docker import docker_engine
from interop.support.waiting import wait_until
from pybroker.model.ids import TopicPartition
from tests.support.history import wrong_in_commits, wrong_in_log, wrong_in_replicas

TOPIC = "orders"
TOPICS = (TOPIC, "__consumer_offsets")
PARTITIONS = 6
REPLICAS = 3
FIRST_RECORDS = 200
FIRST_LOAD_S = 60.0
CALL_S = 30.0


class Run(Struct):
    """One run against a cluster that is up."""

    cluster: ComposeCluster
    rng: random.Random
    wrong: list[str] = field(default_factory=list)
    whole_after_s: dict[str, list[float]] = field(default_factory=dict)
    compared: int = 0
    """Batches of all replicas, after the brokers were stopped."""

    load: Load = None  # made below

    def __post_init__(self) -> None:
        self.load = Load(self.cluster.bootstrap, TOPIC, PARTITIONS)

    def whole(self, rounds: int) -> None:
        """Everything, the clients' end included; what fails is among ``wrong``."""
        try:
            self.begin()
            for number in range(1, rounds + 1):
                self.kill(number)
            self.roll()
            tell(self.cluster.memory())
            self.end()
        except AssertionError as error:
            self.wrong.append(str(error))
            for service in (ZOOKEEPER, *BROKERS):
                tell(f"--- {service}\n{self.cluster.log(service)}")
        finally:
            self.load.stop()

    def begin(self) -> None:
        """The topic, the clients, and what compose.yaml promises."""
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        (made,) = admin.create_topics([NewTopic(TOPIC, PARTITIONS)]).values()
        made.result(CALL_S)
        self.load.start()
        wait_until(
            lambda: self.load.acknowledged > FIRST_RECORDS and self.load.history.commits,
            "a first load", FIRST_LOAD_S,
        )  # fmt: skip
        self.cluster.wait_until_whole(TOPICS)
        self._check_promises(admin)

    def _check_promises(self, admin: AdminClient) -> None:
        topics = admin.list_topics(timeout=CALL_S).topics
        for topic in TOPICS:
            resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
            config = admin.describe_configs([resource])[resource].result(CALL_S)
            replicas = {len(partition.replicas) for partition in topics[topic].partitions.values()}
            if (replicas, config["min.insync.replicas"].value) != ({REPLICAS}, "2"):
                self.wrong.append(f"{topic}: {replicas} replicas, not 3 with at least 2 in sync")
        for asked in BROKERS:
            asking = self.rng.choice([name for name in BROKERS if name != asked])
            tell(self.cluster.execute(asking, "pybroker", "health", f"{asked}:9092") + f" of {asking}")

    def kill(self, number: int) -> None:
        """One round of trouble."""
        kind = self.rng.choice(["kill -9 of a leader", "kill -9 of any broker", "kill -9 of ZooKeeper"])
        service = {
            "kill -9 of a leader": self._leader,
            "kill -9 of any broker": lambda: self.rng.choice(BROKERS),
            "kill -9 of ZooKeeper": lambda: ZOOKEEPER,
        }[kind]()
        before = self.load.acknowledged
        self.cluster.kill(service)
        time.sleep(self.rng.uniform(1, 15))
        self.cluster.start(service)
        took_s = self.cluster.wait_until_whole(TOPICS)
        self._note(kind, took_s)
        tell(
            f"round {number}: {kind} ({service}), whole {took_s:.1f} s after its start; "
            f"{self.load.acknowledged - before} records acknowledged meanwhile"
        )

    def roll(self) -> None:
        """Every broker, one after the other, as README.md says."""
        for service in BROKERS:
            started = time.monotonic()
            code = self.cluster.stop(service)
            stopped_s = time.monotonic() - started
            if code != 0:
                self.wrong.append(f"{service} ended with {code} when it was told to stop")
            self.cluster.start(service)
            took_s = self.cluster.wait_until_whole(TOPICS)
            self._note("rolled", took_s)
            tell(f"rolled {service}: stopped in {stopped_s:.1f} s, whole {took_s:.1f} s after its start")

    def end(self) -> None:
        """What the clients were told, beside what the logs hold."""
        self.load.stop()
        self.cluster.wait_until_whole(TOPICS)
        self.wrong += self.load.errors
        for index in range(PARTITIONS):
            tp = TopicPartition(TOPIC, index)
            self.wrong += wrong_in_log(self.load.history, tp, self.load.log(index))
        self.wrong += wrong_in_commits(self.load.history, self.load.committed())
        self._compare_replicas()

    def _compare_replicas(self) -> None:
        """Batch by batch, after a clean stop of all brokers."""
        for service in BROKERS:
            self.cluster.stop(service)
        with tempfile.TemporaryDirectory(prefix="cluster-run-") as copies:
            folders = {number: Path(copies) / service for number, service in enumerate(BROKERS, 1)}
            for service in BROKERS:
                self.cluster.copy_data(service, Path(copies) / service)
            for topic in TOPICS:
                found = replicas_on_disk(folders, topic)
                for tp, replicas in found.items():
                    self.wrong += wrong_in_replicas(tp, replicas)
                    if len(replicas) != REPLICAS:
                        self.wrong.append(f"{tp} is on the disks of {sorted(replicas)}, not of {REPLICAS}")
                    self.compared += sum(map(len, replicas.values()))
                if not found:
                    self.wrong.append(f"{topic} is on no broker's disk")

    def table(self) -> str:
        """What happened, and what came of it."""
        lines = ["| trouble | times | seconds until the cluster was whole, median | worst |", "|--|--|--|--|"]
        for kind, times in sorted(self.whole_after_s.items()):
            ordered = sorted(times)
            lines.append(f"| {kind} | {len(times)} | {ordered[len(ordered) // 2]:.1f} | {ordered[-1]:.1f} |")
        load = self.load
        trouble = ", ".join(f"{name} {count}" for name, count in load.trouble.most_common(8)) or "none"
        verdict = "\n".join(f"- {one}" for one in self.wrong) or (
            "Every acknowledged record is there once and in order, no committed offset moved back, and all "
            f"replicas hold the same {self.compared // REPLICAS:,} batches."
        )
        return (
            f"{load.acknowledged:,} records acknowledged, {load.consumed:,} consumed, "
            f"{len(load.history.commits):,} offset commits.\n\n" + "\n".join(lines) + "\n\n"
            f"Errors that clients handled by themselves: {trouble}.\n\n{verdict}"
        )

    def _leader(self) -> str:
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        partitions = admin.list_topics(TOPIC, timeout=CALL_S).topics[TOPIC].partitions
        return f"broker-{partitions[self.rng.randrange(PARTITIONS)].leader}"

    def _note(self, kind: str, took_s: float) -> None:
        self.whole_after_s.setdefault(kind, []).append(took_s)


def tell(text: str) -> None:
    """What is going on, for the one who waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6, help="how often something is killed (default: 6)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    with docker_engine() as docker:
        cluster = ComposeCluster(docker)
        run = Run(cluster, random.Random(options.seed))
        tell(f"seed {options.seed}: building and starting the cluster")
        try:
            cluster.up()
            run.whole(options.rounds)
        finally:
            cluster.down()
    print(f"Seed {options.seed}, {options.rounds} rounds. {run.table()}")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
