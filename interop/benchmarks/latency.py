"""How long single messages take and how many requests a second are answered, side by side.

Run ``python -m interop.benchmarks.latency [--quick] [--rounds N] [--systems a,b] [--json FILE]``.

* one message per request: 100 B, linger 0, one connection; pipelined, or the next only after the answer.
* paced: 1,000 messages of 1 KB a second, linger 0; until acknowledged, and until a consumer has it.
"""

import sys

from interop.benchmarks.client import Load, parse_options, rotated
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.systems import Running, System, Usage

ROUNDS = 5
RATE = 1000
PAIRS = (("pybroker", "kafka"), ("pybroker", "mock"), ("pybroker", "kfake"))
SYSTEMS = ("pybroker", "kafka", "mock", "kfake")
REQUESTS = (("requests/s pipelined", 40_000, 1_000_000), ("requests/s one in flight", 10_000, 1))
"""Figure, messages, and how many requests may be on their way."""

TARGETS = [
    Target("requests/s pipelined", "pybroker", 0.6, "mock"),
    Target("requests/s one in flight", "pybroker", 0.4, "mock"),
    Target("produce p50, acks all, ms", "pybroker", 1.5, "mock", at_least=False),
    Target("produce p99, acks all, ms", "pybroker", 2.0, "mock", at_least=False),
    Target("produce p50, acks all, ms", "pybroker", 1.0, "kafka", at_least=False),
    Target("produce p99, acks all, ms", "pybroker", 1.0, "kafka", at_least=False),
]


class Latency:
    """One run of all measurements against started systems."""

    def __init__(self, load: Load, figures: Figures, seconds: int) -> None:
        self._load = load
        self._figures = figures
        self._paced_messages = RATE * seconds
        self._topics = 0

    def count_requests(self, system: System, what: str, messages: int, in_flight: int) -> None:
        topic = self._new_topic(system)
        usage = Usage(system)
        run = self._load(
            "produce", system, topic, size=100, acks=1, alone=1, linger_ms=0,
            messages=messages, in_flight=in_flight,
        )  # fmt: skip
        self._figures.add(what, system.name, messages / run["seconds"])
        self._figures.add(f"{what}, CPU µs each", system.name, usage.cpu_s / messages * 1e6)
        system.delete_topic(topic)

    def pace(self, system: System, acks: str) -> None:
        topic = self._new_topic(system)
        follow = int(acks == "all" and system.name != "mock")
        run = self._load(
            "paced", system, topic, size=1024, acks=acks, linger_ms=0, rate=RATE,
            messages=self._paced_messages, follow=follow,
        )  # fmt: skip
        for percentile in ("p50", "p99"):
            name = f"produce {percentile}, acks {acks}, ms"
            self._figures.add(name, system.name, run[f"produce_{percentile}_ms"])
            if follow:
                name = f"produce to consume {percentile}, ms"
                self._figures.add(name, system.name, run[f"consume_{percentile}_ms"])
        system.delete_topic(topic)

    def _new_topic(self, system: System) -> str:
        self._topics += 1
        topic = f"bench-{self._topics}"
        system.create_topic(topic, 1)
        return topic


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("requests and latency", options.rounds, PAIRS)
    chosen = [name for name in SYSTEMS if name in options.systems]
    load = Load()
    with Running(chosen) as systems:
        warm_up = Latency(load, Figures("warm-up", 1, ()), seconds=1)
        measured = Latency(load, figures, seconds=1 if options.quick else 3)
        for number in range(-1, options.rounds):
            progress(f"round {number + 1} of {options.rounds}" if number >= 0 else "warming up")
            bench = measured if number >= 0 else warm_up
            for what, messages, in_flight in REQUESTS:
                for system in rotated(systems, number):
                    bench.count_requests(system, what, messages, in_flight)
            for acks in ("all",) if options.quick else ("all", "1"):
                for system in rotated(systems, number):
                    bench.pace(system, acks)
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


if __name__ == "__main__":
    sys.exit(main())
