"""How many MB/s go in and out, side by side, and what that costs the broker.

Run ``python -m interop.benchmarks.throughput [--quick] [--rounds N] [--systems a,b] [--json FILE]``. In each
round every scenario runs once on every system, one directly after the other, each with a new topic.
"""

import sys

from msgspec import Struct

from interop.benchmarks.client import Load, parse_options, rotated
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.systems import HEADER_ONLY, PybrokerSystem, Running, System, Usage

ROUNDS = 5
BYTES = {1024: 100 * 1024 * 1024, 100: 30_000_000}
"""Message size -> how much one run moves; long enough that connecting does not count."""

HALF_A_TICK_S = 0.005
"""What less than one tick of the kernel's accounting counts as."""

TARGET_TO_KAFKA, TARGET_TO_MOCK = 0.8, 0.6
MAX_LOADED_STRETCH_MS = 20.0
STRETCH = "most CPU of a stretch on the loop, ms"
"""By CPU: with three busy processes on two processors, the clock also counts the waits for one of them."""

PAIRS = (("pybroker", "kafka"), ("pybroker", "mock"), (HEADER_ONLY, "mock"), ("pybroker", "kfake"))


class Scenario(Struct, frozen=True):
    """One way to fill a topic; it is also read back when ``reads``."""

    size: int
    acks: str
    codec: str
    partitions: int
    reads: bool = False

    def __str__(self) -> str:
        size = "1 KB" if self.size == 1024 else f"{self.size} B"
        return f"{size}, acks {self.acks}, {self.codec}, {self.partitions}p"

    @property
    def messages(self) -> int:
        return BYTES[self.size] // self.size

    def options(self, messages: int) -> dict[str, object]:
        return {
            "size": self.size, "acks": self.acks, "codec": self.codec, "partitions": self.partitions,
            "messages": messages,
        }  # fmt: skip


ALL = [
    Scenario(size, acks, codec, partitions, reads=acks == "all")
    for size in (1024, 100)
    for acks in ("1", "all")
    for codec in ("none", "lz4")
    for partitions in (1, 6)
]
QUICK = [Scenario(1024, "all", "none", 1, reads=True), Scenario(100, "all", "lz4", 6, reads=True)]
TAIL = [Scenario(1024, "1", "none", 6), Scenario(100, "1", "none", 1)]


class Throughput:
    """One run of all scenarios against started systems."""

    def __init__(self, load: Load, figures: Figures) -> None:
        self._load = load
        self._figures = figures
        self._topics = 0

    def fill_and_read(self, system: System, scenario: Scenario, *, counts: bool = True) -> None:
        topic = self._new_topic(system, scenario.partitions)
        options = scenario.options(scenario.messages)
        mega_bytes = scenario.messages * scenario.size / 1e6
        usage = Usage(system)
        run = self._load("produce", system, topic, **options)
        if counts:
            self._note(f"produce {scenario}", system, run["seconds"], mega_bytes, usage.cpu_s)
        if scenario.reads and system.name != "mock":
            options = {key: options[key] for key in ("partitions", "messages")}
            usage = Usage(system)
            run = self._load("consume", system, topic, **options)
            if counts:
                self._note(f"consume old {scenario}", system, run["seconds"], mega_bytes, usage.cpu_s)
        system.delete_topic(topic)

    def follow(self, system: System, scenario: Scenario) -> None:
        topic = self._new_topic(system, scenario.partitions)
        run = self._load("tail", system, topic, **scenario.options(scenario.messages // 2))
        mega_bytes = scenario.messages // 2 * scenario.size / 1e6
        self._figures.add(f"consume tail {scenario}, MB/s", system.name, mega_bytes / run["seconds"])
        system.delete_topic(topic)

    def _new_topic(self, system: System, partitions: int) -> str:
        self._topics += 1
        topic = f"bench-{self._topics}"
        system.create_topic(topic, partitions)
        return topic

    def _note(self, what: str, system: System, seconds: float, mega_bytes: float, cpu_s: float) -> None:
        self._figures.add(f"{what}, MB/s", system.name, mega_bytes / seconds)
        self._figures.add(f"{what}, CPU s/GB", system.name, max(cpu_s, HALF_A_TICK_S) / mega_bytes * 1000)


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("throughput", options.rounds, PAIRS)
    scenarios, tails = (QUICK, []) if options.quick else (ALL, TAIL)
    with Running(options.systems) as systems:
        bench = Throughput(Load(), figures)
        for system in systems:
            figures.add("memory idle, MiB", system.name, Usage(system).rss_mib)
        warm_up(bench, systems, scenarios)
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            for scenario in scenarios:
                for system in rotated(systems, number):
                    if system.name != HEADER_ONLY or is_for_header_only(scenario):
                        bench.fill_and_read(system, scenario)
            for scenario in tails:
                for system in rotated(systems, number):
                    if system.name not in (HEADER_ONLY, "mock"):
                        bench.follow(system, scenario)
        for system in systems:
            figures.add("memory loaded, MiB", system.name, Usage(system).rss_mib)
        note_stretches(figures, systems)
    return 0 if report(figures, targets(figures), options.json, add=options.add) else 1


def is_for_header_only(scenario: Scenario) -> bool:
    """The lighter validation is compared where validation counts most."""
    return scenario.size == 1024 and scenario.codec == "none"


def warm_up(bench: Throughput, systems: list[System], scenarios: list[Scenario]) -> None:
    """Kafka's compilers need traffic before they are done; everyone gets the same."""
    for system in systems:
        for scenario in scenarios[:2] + scenarios[-2:]:
            bench.fill_and_read(system, scenario, counts=False)


def note_stretches(figures: Figures, systems: list[System]) -> None:
    for system in systems:
        if isinstance(system, PybrokerSystem):
            system.halt()
            by_clock, by_cpu = system.stretches_ms()
            figures.add("longest stretch on the loop, ms", system.name, by_clock)
            figures.add(STRETCH, system.name, by_cpu)


def targets(figures: Figures) -> list[Target]:
    """Of every figure that has one."""
    chosen = [Target(STRETCH, "pybroker", MAX_LOADED_STRETCH_MS, at_least=False)]
    for figure in figures.samples:
        if not figure.endswith("MB/s"):
            continue
        chosen.append(Target(figure, "pybroker", TARGET_TO_KAFKA, "kafka"))
        if figure.startswith("produce 1 KB"):
            chosen.append(Target(figure, HEADER_ONLY, TARGET_TO_MOCK, "mock"))
    return chosen


if __name__ == "__main__":
    sys.exit(main())
