"""Makes ``messages.jsonl`` with Apache Kafka's own classes: ``python -m tests.golden.generate``.

Needs Java and Maven. It covers what the independent codec ``kio`` lacks: every version of ours that kio does
not have, the records of the coordinator topics, headers, and the consumer-protocol blobs. A version that two
releases know is taken from the newer one; records, which change without a new version, from both.

The first line of the file says where it came from. Every other line is a JSON list: message, version,
release, variant, bytes in hexadecimal, values (our field names; bytes, ids and records in hexadecimal).
"""

import importlib.util
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interop.spec_check.jars import jar
from pybroker.protocol import specs

HERE = Path(__file__).parent
GOLDEN = HERE / "messages.jsonl"
RELEASES = ("4.4.0", "3.9.2")
"""Newest first."""
ARTIFACTS = ("kafka-clients", "kafka-group-coordinator", "kafka-transaction-coordinator")
SLF4J = "1.7.36"


def kio_has(message: str, version: int) -> bool:
    """Whether kio has this version of a message."""
    for suffix in ("Request", "Response"):
        if message.endswith(suffix):
            package = specs.snake_case(message.removesuffix(suffix))
            module = f"kio.schema.{package}.v{version}.{suffix.lower()}"
            try:
                return importlib.util.find_spec(module) is not None
            except ModuleNotFoundError:
                return False
    return False


def wanted() -> Iterator[tuple[str, int]]:
    """The versions of our messages that need golden bytes."""
    for name, message in specs.all_messages().items():
        yield from ((name, version) for version in message.versions if not kio_has(name, version))


def java_name(message: str, version: int, release: str) -> str:
    """``class version`` of a release. Kafka 4 gives keys of records version 0, and type 0 its own classes."""
    if release.startswith("4") and message in specs.load_file("records_consumer_offsets").messages:
        if message == "OffsetCommitKey" and version == 0:
            return "LegacyOffsetCommitKey 0"
        return f"{message} 0" if message.endswith("Key") else f"{message} {version}"
    return f"{message} {version}"


def run(release: str, classes: list[str]) -> list[dict[str, Any]]:
    """The lines that the Java program writes for ``class version`` lines, with the classes of a release."""
    jars = [jar("org.apache.kafka", artifact, release) for artifact in ARTIFACTS]
    path = ":".join(str(path) for path in (*jars, jar("org.slf4j", "slf4j-api", SLF4J)))
    command = ["java", "-cp", path, str(HERE / "GoldenBytes.java")]
    done = subprocess.run(
        command, input="\n".join(classes) + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def our_names(value: Any) -> Any:
    """Values with their field names spelled as ours."""
    if isinstance(value, dict):
        return {specs.snake_case(name): our_names(member) for name, member in value.items()}
    return [our_names(member) for member in value] if isinstance(value, list) else value


def main() -> None:
    """Write the golden file; fails when no release knows a wanted version."""
    left = list(wanted())
    records = {name for stem in specs.plain_files() for name in specs.load_file(stem).messages}
    # The early access of share groups changed its records without a new version.
    twice = {name for name in records if not name.startswith("ShareGroup")}
    lines: list[list[Any]] = []
    for release in RELEASES:
        by_class = {java_name(message, version, release): (message, version) for message, version in left}
        found: set[tuple[str, int]] = set()
        for line in run(release, list(by_class)):
            message, version = by_class[f"{line['class']} {line['version']}"]
            found.add((message, version))
            lines.append([message, version, release, line["variant"], line["hex"], our_names(line["values"])])
        left = [pair for pair in left if pair not in found or pair[0] in twice]
    missing = set(wanted()) - {(line[0], line[1]) for line in lines}
    if missing:
        raise SystemExit(f"no release writes {sorted(missing)}")
    lines.sort(key=lambda line: tuple(line[:4]))
    head = {"made by": "GoldenBytes.java", "releases": RELEASES, "artifacts": ARTIFACTS}
    dumped = [json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in (head, *lines)]
    GOLDEN.write_text("".join(f"{line}\n" for line in dumped), encoding="utf-8")
    print(f"{len(lines)} messages, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
