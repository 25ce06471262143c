"""How many MB/s three brokers take when all replicas must have them, beside Apache Kafka.

Run ``python -m interop.benchmarks.replicas [--quick] [--rounds 5] [--systems a,b] [--json FILE]``. Three
brokers of each kind with the same settings, three replicas, acks=all; both clusters are up all the time, and
take turns. The CPU is that of all three brokers.
"""

import sys

import psutil
from msgspec import Struct

from interop.benchmarks.client import Load, parse_options
from interop.benchmarks.clusters import KINDS, ClusterUnderTest, running_clusters
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.throughput import HALF_A_TICK_S, Scenario

ROUNDS = 5
SCENARIOS = [
    Scenario(size, "all", codec, partitions)
    for size, codec, partitions in ((1024, "none", 1), (1024, "none", 6), (1024, "lz4", 6), (100, "none", 6))
]
QUICK = SCENARIOS[1:2]


class FirstBroker(Struct, frozen=True):
    """Where the client asks first; the others it learns of."""

    name: str
    port: int


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    scenarios = QUICK if options.quick else SCENARIOS
    figures = Figures("replicas", options.rounds, (KINDS,))
    load = Load()
    with running_clusters(options.systems) as clusters:
        for number in range(-1, options.rounds):
            progress("warming up" if number < 0 else f"round {number + 1} of {options.rounds}")
            for index, scenario in enumerate(scenarios):
                for cluster in clusters if number % 2 else clusters[::-1]:
                    topic = f"bench-{number + 1}-{index}"
                    mega_bytes_per_s, cpu_s_per_gb = fill(load, cluster, topic, scenario)
                    if number >= 0:
                        figures.add(f"produce {scenario}, MB/s", cluster.name, mega_bytes_per_s)
                        figures.add(f"produce {scenario}, CPU s/GB", cluster.name, cpu_s_per_gb)
    targets = [Target(f"produce {scenario}, MB/s", "pybroker", 1.0, "kafka") for scenario in scenarios]
    return 0 if report(figures, targets, options.json, add=options.add) else 1


def fill(load: Load, cluster: ClusterUnderTest, topic: str, scenario: Scenario) -> tuple[float, float]:
    """MB/s and CPU seconds per GB of one run into a new topic, which is gone afterwards."""
    cluster.create_topic(topic, scenario.partitions)
    first = FirstBroker(cluster.name, cluster.brokers[0].port)
    before_s = cpu_s(cluster)
    run = load("produce", first, topic, **scenario.options(scenario.messages))
    used_s = max(cpu_s(cluster) - before_s, HALF_A_TICK_S)
    mega_bytes = scenario.messages * scenario.size / 1e6
    admin = cluster.admin()
    admin.delete_topics([topic])[topic].result(60)
    return mega_bytes / run["seconds"], used_s / mega_bytes * 1000


def cpu_s(cluster: ClusterUnderTest) -> float:
    """User and system time of all brokers since their starts."""
    times = (psutil.Process(broker.pid).cpu_times() for broker in cluster.brokers.values())
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    sys.exit(main())
