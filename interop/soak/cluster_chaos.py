"""Three brokers on a real ZooKeeper, clients at work, and trouble: what is acknowledged must be there.

Run ``python -m interop.soak.cluster_chaos [--rounds 100] [--parts 5] [--seed 1]``. Each round kills a broker,
stops one for longer than its session lives, restarts ZooKeeper, or cuts the link between two brokers, and
goes on when the cluster is whole again. A part is a cluster of its own; a run goes on after the parts that an
earlier one has finished. Ends with 1 when

- an acknowledged record is missing, is there twice, or is out of its producer's order,
- replicas differ in a single batch,
- a committed offset moved back,
- the in-sync replicas do not become full again, or a client saw an error that it must not see.
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic
from msgspec import Struct, field

from interop.soak.load import Load
from interop.support.cluster import BROKER_IDS, SESSION_TIMEOUT_MS, BrokerCluster
from interop.support.maven import CACHE
from interop.support.waiting import wait_until
from pybroker.model.ids import TopicPartition
from tests.support.history import wrong_in_commits, wrong_in_log, wrong_in_replicas

TABLE = Path(__file__).parent / "results" / "cluster-chaos.md"
FINISHED = CACHE / "cluster-chaos"
"""Where finished parts are remembered: a run that was broken off goes on after them."""

TOPIC = "chaos"
TOPICS = (TOPIC, "__consumer_offsets")
LONGER_THAN_SESSION_S = SESSION_TIMEOUT_MS / 1000 + 2


class Chaos(Struct):
    """One run."""

    seed: int
    partitions: int = 6
    cluster: BrokerCluster = field(default_factory=BrokerCluster)
    whole_after_s: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    rng: random.Random = None  # made below
    load: Load = None  # made below
    seconds: float = 0.0

    def __post_init__(self) -> None:
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

    def result(self) -> dict[str, Any]:
        """What happened, and what came of it."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds),
            "acknowledged": self.load.acknowledged,
            "consumed": self.load.consumed,
            "commits": len(self.load.history.commits),
            "whole_after_s": self.whole_after_s,
            "trouble": dict(self.load.trouble),
            "wrong": self.wrong,
        }


def run_part(seed: int, rounds: int, *, keep: bool) -> dict[str, Any]:
    """A cluster of its own, and its result."""
    chaos = Chaos(seed)
    try:
        chaos.run(rounds)
    except AssertionError as error:
        chaos.wrong.append(str(error))
        for broker_id, broker in chaos.cluster.brokers.items():
            print(f"--- broker {broker_id}\n{broker.log_tail()}", file=sys.stderr)
    finally:
        chaos.load.stop()
        chaos.cluster.stop()
    if chaos.wrong and keep:
        print(f"kept: {chaos.cluster.folder}", file=sys.stderr)
    else:
        chaos.cluster.remove()
    return chaos.result()


def table(parts: list[dict[str, Any]]) -> str:
    """The results of all parts as one."""
    times: dict[str, list[float]] = {}
    trouble: Counter[str] = Counter()
    for part in parts:
        trouble.update(part["trouble"])
        for kind, found in part["whole_after_s"].items():
            times.setdefault(kind, []).extend(found)
    lines = [
        "| trouble | rounds | seconds from its end until the cluster was whole, median | worst |",
        "|--|--|--|--|",
    ]
    for kind, found in sorted(times.items()):
        lines.append(f"| {kind} | {len(found)} | {statistics.median(found):.1f} | {max(found):.1f} |")
    wrong = [one for part in parts for one in part["wrong"]]
    handled = ", ".join(f"{name} {count}" for name, count in trouble.most_common(8)) or "none"
    seeds = ", ".join(str(part["seed"]) for part in parts)

    def total(name: str) -> int:
        return sum(part[name] for part in parts)

    return (
        f"Seeds {seeds}: {sum(map(len, times.values()))} rounds in {total('seconds')} s; "
        f"{total('acknowledged'):,} records acknowledged, {total('consumed'):,} consumed, "
        f"{total('commits'):,} offset commits.\n\n"
        + "\n".join(lines)
        + f"\n\nErrors that clients handled by themselves: {handled}.\n\n"
        + ("Everything held.\n" if not wrong else "\n".join(f"- {one}" for one in wrong) + "\n")
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.soak.cluster_chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first part; the next one has the next")
    parser.add_argument(
        "--parts", type=int, default=5, help="clusters one after the other, that share the rounds"
    )
    parser.add_argument("--again", action="store_true", help="do not go on with what an earlier run has left")
    parser.add_argument("--keep", action="store_true", help="leave the brokers' folders when it fails")
    options = parser.parse_args()
    rounds = math.ceil(options.rounds / options.parts)
    FINISHED.mkdir(parents=True, exist_ok=True)
    parts = []
    for seed in range(options.seed, options.seed + options.parts):
        file = FINISHED / f"{seed}-{rounds}.json"
        if options.again or not file.exists():
            part = run_part(seed, rounds, keep=options.keep)
            if not part["wrong"]:
                file.write_text(json.dumps(part))
        else:
            part = json.loads(file.read_text())
        parts.append(part)
    print(table(parts))
    if options.rounds >= parser.get_default("rounds"):
        TABLE.write_text(f"# A cluster in trouble\n\n{table(parts)}")
    return 1 if any(part["wrong"] for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
