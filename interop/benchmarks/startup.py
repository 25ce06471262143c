"""How long until a broker answers its first Metadata request, and what it keeps in memory while idle.

Run ``python -m interop.benchmarks.startup [--quick] [--rounds N] [--systems a,b] [--json FILE]``. Every
system is started again and again on its own data, in turns, after one start that does not count; ZooKeeper
runs before Kafka's clock starts. ``import trio`` and a bare Python show what part of pybroker's start is not
its own.
"""

import subprocess
import sys
import time
from contextlib import ExitStack

from interop.benchmarks.client import parse_options, rotated
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.systems import (
    START_TIMEOUT_S,
    SYSTEMS,
    System,
    Usage,
    await_answer,
    installed_python,
)
from interop.support.waiting import wait_until

ROUNDS = 5
CHOSEN = ("pybroker", "kafka", "mock", "kfake")
PAIRS = (("pybroker", "kafka"), ("pybroker", "import trio"), ("pybroker", "mock"), ("pybroker", "kfake"))
START, IDLE = "start to first metadata, ms", "memory idle, MiB"
TARGETS = [
    Target(START, "pybroker", 0.1, "kafka", at_least=False),
    Target(START, "pybroker", 2.2, "import trio", at_least=False),
    Target(IDLE, "pybroker", 60, at_least=False),
    Target(IDLE, "pybroker", 0.2, "kafka", at_least=False),
]


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("start and memory", options.rounds, PAIRS)
    with ExitStack() as stack:
        systems: list[System] = []
        for name in CHOSEN:
            if name in options.systems:
                systems.append(SYSTEMS[name]())
                stack.callback(systems[-1].close)
                systems[-1].prepare()
                start(systems[-1])
                systems[-1].halt()
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            for system in rotated(systems, number):
                figures.add(START, system.name, start(system))
                figures.add(IDLE, system.name, settled_memory(system))
                system.halt()
            for name, code in (("python", "pass"), ("import trio", "import trio")):
                figures.add(START, name, run_python(code))
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


def start(system: System) -> float:
    """Milliseconds from the creation of the process to the answer."""
    started = time.perf_counter()
    system.launch()
    await_answer(system)
    return (time.perf_counter() - started) * 1000


def settled_memory(system: System) -> float:
    """Resident MiB when the broker does nothing more: used no CPU between two looks."""

    def rests() -> float | None:
        usage = Usage(system)
        time.sleep(0.3)
        return usage.rss_mib if usage.cpu_s < 0.03 else None

    return wait_until(rests, f"{system.name} at rest", START_TIMEOUT_S)


def run_python(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([installed_python(), "-c", code], check=True)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
