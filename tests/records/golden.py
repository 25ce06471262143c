"""Golden records of Apache Kafka's own classes; tests/golden/records/README.md says how they were made."""

import base64
import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pybroker.records.batch import Record

_FILE = Path(__file__).parent.parent / "golden" / "records" / "records.jsonl.gz"


@cache
def _lines() -> tuple[dict[str, Any], ...]:
    with gzip.open(_FILE, "rt") as text:
        return tuple(json.loads(line) for line in text)


def golden(kind: str) -> Iterator[dict[str, Any]]:
    """The golden lines of one kind."""
    return (line for line in _lines() if line["kind"] == kind)


def golden_records(line: dict[str, Any]) -> list[Record]:
    """What Kafka reads from the bytes of a line."""
    return [
        Record(
            offset,
            timestamp,
            None if key is None else base64.b64decode(key),
            None if value is None else base64.b64decode(value),
            tuple(
                (base64.b64decode(name).decode(), None if content is None else base64.b64decode(content))
                for name, content in headers
            ),
        )
        for offset, timestamp, key, value, headers in line["records"]
    ]
