"""What Kafka's own performance tools say: kafka-producer-perf-test and kafka-consumer-perf-test of 3.9.

Run ``python -m interop.benchmarks.perf_tools [--quick] [--rounds N] [--systems a,b] [--json FILE] [--add]``.
Every run of a tool is a JVM of its own with the options of its script, as people run them; what the tools
print is what is shown. Their MB are 2**20 bytes, their latency counts the wait in the producer's queue.
"""

import re
import subprocess
import sys

from interop.benchmarks.client import parse_options, rotated
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.systems import Running, System
from interop.support import maven
from interop.support.jvm import SOURCES
from interop.support.process import LOCALHOST
from interop.support.tool_runner import MAIN_CLASSES
from interop.support.tools import require_tool

ROUNDS = 5
CHOSEN = ("pybroker", "kafka", "kfake")
TOOLS = "tools-3.9"
JVM = (
    "-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
)  # fmt: skip
"""As kafka-run-class.sh and the two scripts have it."""

TIMEOUT_S = 120
PARTITIONS = 6
RECORDS = {1024: 200_000, 100: 1_000_000}
"""Record size -> how many a run moves."""

QUICK_RECORDS = {1024: 100_000}
PAIRS = (("pybroker", "kafka"), ("pybroker", "kfake"))
TARGET_TO_KAFKA = 0.8

_SUMMARY = re.compile(
    r"^(?P<records>\d+) records sent, (?P<rate>[\d.]+) records/sec \((?P<mb>[\d.]+) MB/sec\), "
    r"(?P<avg>[\d.]+) ms avg latency, .* (?P<p50>\d+) ms 50th, .* (?P<p99>\d+) ms 99th,",
    re.MULTILINE,
)


class PerfTools:
    """One run of both tools against started systems."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._topics = 0

    def fill_and_read(self, system: System, size: int, records: int) -> None:
        self._topics += 1
        topic = f"perf-{self._topics}"
        system.create_topic(topic, PARTITIONS)
        what = f"{'1 KB' if size == 1024 else f'{size} B'}, {PARTITIONS}p"
        sent = self._produce(system, topic, size, records)
        self._figures.add(f"producer-perf-test {what}, MB/s", system.name, float(sent["mb"]))
        self._figures.add(f"producer-perf-test {what}, avg latency, ms", system.name, float(sent["avg"]))
        self._figures.add(f"producer-perf-test {what}, p99 latency, ms", system.name, float(sent["p99"]))
        read = self._consume(system, topic, records)
        self._figures.add(f"consumer-perf-test {what}, MB/s", system.name, float(read["MB.sec"]))
        self._figures.add(f"consumer-perf-test {what}, fetch MB/s", system.name, float(read["fetch.MB.sec"]))
        system.delete_topic(topic)

    def _produce(self, system: System, topic: str, size: int, records: int) -> dict[str, str]:
        output = _run(
            "kafka-producer-perf-test", "--topic", topic, "--num-records", str(records),
            "--record-size", str(size), "--throughput", "-1",
            "--producer-props", f"bootstrap.servers={_address(system)}", "acks=all",
        )  # fmt: skip
        found = _SUMMARY.search(output)
        assert found is not None and int(found["records"]) == records, f"{system.name}:\n{output}"
        return found.groupdict()

    def _consume(self, system: System, topic: str, records: int) -> dict[str, str]:
        output = _run(
            "kafka-consumer-perf-test", "--bootstrap-server", _address(system), "--topic", topic,
            "--messages", str(records), "--timeout", "30000",
        )  # fmt: skip
        lines = [line for line in output.splitlines() if line.count(",") > 5]
        names, values = ([part.strip() for part in line.split(",")] for line in lines[-2:])
        row = dict(zip(names, values, strict=True))
        assert int(row["data.consumed.in.nMsg"]) >= records, f"{system.name}:\n{output}"
        return row


def _address(system: System) -> str:
    return f"{LOCALHOST}:{system.port}"


def _run(tool: str, *arguments: str) -> str:
    command = [
        require_tool("java", "default-jdk-headless"), *JVM,
        f"-Dlog4j.configuration=file:{SOURCES / 'log4j.properties'}",
        "-cp", maven.class_path(TOOLS), MAIN_CLASSES[TOOLS][tool], *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{' '.join([tool, *arguments])}:\n{done.stdout}{done.stderr}"
    return done.stdout


def targets(figures: Figures) -> list[Target]:
    """MB/s beside Kafka's, of everything that was measured."""
    return [
        Target(figure, "pybroker", TARGET_TO_KAFKA, "kafka")
        for figure in figures.samples
        if figure.endswith(", MB/s")
    ]


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("Kafka's performance tools", options.rounds, PAIRS)
    sizes = QUICK_RECORDS if options.quick else RECORDS
    with Running([name for name in CHOSEN if name in options.systems]) as systems:
        warm_up, measured = PerfTools(Figures("warm-up", 1, ())), PerfTools(figures)
        for number in range(-1, options.rounds):
            progress(f"round {number + 1} of {options.rounds}" if number >= 0 else "warming up")
            for size, records in sizes.items():
                for system in rotated(systems, number):
                    (measured if number >= 0 else warm_up).fill_and_read(system, size, records)
    return 0 if report(figures, targets(figures), options.json, add=options.add) else 1


if __name__ == "__main__":
    sys.exit(main())
