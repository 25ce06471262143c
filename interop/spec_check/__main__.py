"""``python -m interop.spec_check [RELEASE…]``: exit 0 when our specs say what Kafka's definitions say.

The definitions come out of the jars of the named releases (Maven fetches them), oldest first. With
``PYBROKER_KAFKA_MESSAGES`` they come from the folders named there instead (separated as in PATH), which are
searched for ``*.json`` to any depth.
"""

import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interop.spec_check import kafka, ours
from interop.spec_check.compare import Difference, Release, Report, compare
from interop.spec_check.jars import jar
from interop.spec_check.view import Definition
from pybroker.protocol import specs

RELEASES = ("3.9.2", "4.4.0")
ARTIFACTS = ("kafka-clients", "kafka-group-coordinator", "kafka-transaction-coordinator")
LAST_KEY = 92


def definitions_of(release: str) -> list[Mapping[str, Any]]:
    """The JSON definitions in the jars of a release."""
    texts: list[str] = []
    for artifact in ARTIFACTS:
        with zipfile.ZipFile(jar("org.apache.kafka", artifact, release)) as archive:
            names = (name for name in archive.namelist() if name.startswith("common/message/"))
            texts += [archive.read(name).decode() for name in names if name.endswith(".json")]
    return [kafka.parse(text) for text in texts]


def definitions_below(folder: Path) -> list[Mapping[str, Any]]:
    """The JSON definitions below a folder. Exits when there are none."""
    found = [kafka.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))]
    if not found:
        raise SystemExit(f"no message definitions below {folder}")
    return found


def read_release(name: str, definitions: Sequence[Mapping[str, Any]]) -> Release:
    """The definitions that concern us, by our names; two Kafka messages may share one of ours."""
    found: dict[str, list[Definition]] = {}
    for data in definitions:
        if data.get("validVersions", "none") != "none" and _concerns_us(data):
            definition = kafka.definition(data)
            found.setdefault(definition.name, []).append(definition)
    return Release(name, found)


def _concerns_us(data: Mapping[str, Any]) -> bool:
    """Requests and responses of the APIs that have a spec or should have one, headers, blobs and records."""
    if data["type"] in ("request", "response"):
        key = data["apiKey"]
        return key in specs.file_index() or (key <= LAST_KEY and key not in QUORUM_KEYS)
    if data["name"].startswith(("Transaction", "Offset", "Group", "Consumer", "Share", "Streams", "Legacy")):
        return True
    return bool(data["type"] == "header")


QUORUM_KEYS = frozenset({52, 53, 54, 59, 62, 63, 70, 73, 80, 81, 82})
"""The KRaft quorum's own APIs, which a broker outside it neither sends nor answers."""


def show(report: Report, releases: Sequence[Release]) -> None:
    """Print the counts and every difference."""
    print(f"releases   {', '.join(release.name for release in releases)}")
    print(f"messages   {report.messages}")
    print(f"versions   {report.versions}")
    print(f"fields     {report.fields}")
    superseded = [difference for difference in report.differences if difference.superseded]
    _show_all("changed by a later release, which we follow", superseded)
    _show_all("differences", report.failures)


def _show_all(title: str, differences: Sequence[Difference]) -> None:
    print(f"\n{title}: {len(differences)}")
    for difference in differences:
        print(f"  {difference}")


def main(arguments: Sequence[str]) -> int:
    folders = os.environ.get("PYBROKER_KAFKA_MESSAGES")
    if folders:
        releases = [read_release(name, definitions_below(Path(name))) for name in folders.split(os.pathsep)]
    else:
        releases = [read_release(name, definitions_of(name)) for name in arguments or RELEASES]
    mine = {name: ours.definition(message) for name, message in specs.all_messages().items()}
    report = compare(mine, releases)
    show(report, releases)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
