"""Three brokers on a real ZooKeeper, clients at work, and trouble: what is acknowledged must be there.

Run ``python -m interop.soak.cluster_chaos [--rounds 100] [--seed 1]``. Each round kills a broker,
stops one for longer than its session lives, restarts ZooKeeper, or cuts the link between two brokers, and
goes on when the cluster is whole again. Ends with 1 when

- an acknowledged record is missing, is there twice, or is out of its producer's order,
- replicas differ in a single batch,
- a committed offset moved back,
- the in-sync replicas do not become full again, or a client saw an error that it must not see.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from confluent_kafka.admin import AdminClient, NewTopic

from interop.soak.load import Load
from interop.support.cluster import BROKER_IDS, SESSION_TIMEOUT_MS, BrokerCluster
from interop.support.waiting import wait_until
from pybroker.model.ids import TopicPartition
from tests.support.history import wrong_in_commits, wrong_in_log, wrong_in_replicas

TABLE = Path(__file__).parent / "results" / "cluster-chaos.md"
TOPIC = "chaos"
TOPICS = (TOPIC, "__consumer_offsets")
LONGER_THAN_SESSION_S = SESSION_TIMEOUT_MS / 1000 + 2


@define
class Chaos:
    """One run."""

    seed: int
    partitions: int = 6
    cluster: BrokerCluster = field(factory=BrokerCluster)
    rounds: Counter[str] = field(factory=Counter)
    whole_after_s: dict[str, list[float]] = field(factory=dict)
    wrong: list[str] = field(factory=list)
    rng: random.Random = field(init=False)
    load: Load = field(init=False)
    seconds: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.load = Load(self.cluster.bootstrap, TOPIC, self.partitions)

    def run(self, rounds: int) -> None:
        started = time.monotonic()
        self.cluster.start()
        self._create_topic()
        self.load.start()
        wait_until(lambda: self.load.acknowledged > 100 and self.load.history.commits, "a first load", 60)
        self.cluster.wait_until_whole(TOPICS)
        for number in range(1, rounds + 1):
            self._round(number)
        self._check()
        self.seconds = time.monotonic() - started

    def _create_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        (made,) = admin.create_topics([NewTopic(TOPIC, self.partitions, 3)]).values()
        made.result(30)

    def _round(self, number: int) -> None:
        kinds: dict[str, Callable[[], None]] = {
            "kill -9 of a leader": lambda: self._kill(self._leader()),
            "kill -9 of the controller": lambda: self._kill(self.cluster.controller_id()),
            "kill -9 of any broker": lambda: self._kill(self.rng.choice(BROKER_IDS)),
            "SIGSTOP of a leader": lambda: self._pause(self._leader()),
            "SIGSTOP of the controller": lambda: self._pause(self.cluster.controller_id()),
            "ZooKeeper restart": self._restart_zookeeper,
            "cut link": self._cut_link,
        }
        kind = self.rng.choice(list(kinds))
        before = self.load.acknowledged
        kinds[kind]()
        took_s = self.cluster.wait_until_whole(TOPICS)
        self.rounds[kind] += 1
        self.whole_after_s.setdefault(kind, []).append(took_s)
        print(
            f"round {number}: {kind}, whole again after {took_s:.1f} s; "
            f"{self.load.acknowledged - before} records acknowledged meanwhile",
            file=sys.stderr,
            flush=True,
        )
        if self.load.errors:
            raise AssertionError(f"a client failed: {self.load.errors[:5]}")

    def _leader(self) -> int:
        return self.cluster.leaders(TOPIC)[self.rng.randrange(self.partitions)]

    def _kill(self, broker_id: int) -> None:
        self.cluster.kill(broker_id)
        wait_until(lambda: broker_id not in self.cluster.registered(), "the end of its session", 30)
        time.sleep(self.rng.uniform(0, 3))
        self.cluster.brokers[broker_id].start()

    def _pause(self, broker_id: int) -> None:
        self.cluster.pause(broker_id)
        time.sleep(LONGER_THAN_SESSION_S + self.rng.uniform(0, 2))
        self.cluster.resume(broker_id)

    def _restart_zookeeper(self) -> None:
        self.cluster.zookeeper.kill9()
        time.sleep(self.rng.uniform(0, 2 * LONGER_THAN_SESSION_S))
        self.cluster.zookeeper.start()

    def _cut_link(self) -> None:
        one, other = self.rng.sample(BROKER_IDS, 2)
        self.cluster.links.cut(one, other)
        time.sleep(self.rng.uniform(5, 20))
        self.cluster.links.mend()

    # -- what must hold --------------------------------------------------------------------------------

    def _check(self) -> None:
        self.load.stop()
        self.cluster.wait_until_whole(TOPICS)
        history = self.load.history
        self.wrong += self.load.errors
        for index in range(self.partitions):
            tp = TopicPartition(TOPIC, index)
            self.wrong += wrong_in_log(history, tp, self.load.log(index))
        self.wrong += wrong_in_commits(history, self.load.committed())
        for broker in self.cluster.brokers.values():
            broker.stop()
        for topic in TOPICS:
            for tp, replicas in self.cluster.replicas(topic).items():
                self.wrong += wrong_in_replicas(tp, replicas)

    def table(self) -> str:
        """What happened, and what came of it."""
        load = self.load
        lines = [
            "| trouble | rounds | seconds until the cluster was whole, median | worst |",
            "|--|--|--|--|",
        ]
        for kind, count in sorted(self.rounds.items()):
            times = sorted(self.whole_after_s[kind])
            lines.append(f"| {kind} | {count} | {times[len(times) // 2]:.1f} | {times[-1]:.1f} |")
        trouble = ", ".join(f"{name} {count}" for name, count in load.trouble.most_common(8)) or "none"
        return (
            f"Seed {self.seed}, {sum(self.rounds.values())} rounds in {self.seconds:.0f} s; "
            f"{load.acknowledged:,} records acknowledged, {load.consumed:,} consumed, "
            f"{len(load.history.commits):,} offset commits.\n\n"
            + "\n".join(lines)
            + f"\n\nErrors that clients handled by themselves: {trouble}.\n\n"
            + ("Everything held.\n" if not self.wrong else "\n".join(f"- {one}" for one in self.wrong) + "\n")
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.soak.cluster_chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the brokers' folders when it fails")
    options = parser.parse_args()
    chaos = Chaos(options.seed)
    try:
        chaos.run(options.rounds)
    except AssertionError as error:
        chaos.wrong.append(str(error))
        for broker_id, broker in chaos.cluster.brokers.items():
            print(f"--- broker {broker_id}\n{broker.log_tail()}", file=sys.stderr)
    finally:
        chaos.load.stop()
        chaos.cluster.stop()
    print(chaos.table())
    if chaos.wrong and options.keep:
        print(f"kept: {chaos.cluster.folder}", file=sys.stderr)
    else:
        chaos.cluster.remove()
    if options.rounds >= parser.get_default("rounds"):
        TABLE.write_text(f"# A cluster in trouble\n\n{chaos.table()}")
    return 1 if chaos.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
