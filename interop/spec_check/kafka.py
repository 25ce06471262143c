"""Kafka's message definitions (JSON with comments, as its jars carry them) as Definitions."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from interop.spec_check.view import Definition, Flags, Row, in_wire_order
from pybroker.protocol.spec_model import INTEGER_BOUNDS, PRIMITIVES, snake_case

_LAST = 2**15 - 1
_RENAMED: Mapping[tuple[str, str], str] = {
    ("TxnOffsetCommitRequest", "generation_id"): "generation_id_or_member_epoch",
    ("ListConfigResourcesResponse", "client_metrics_resources"): "config_resources",
    ("ListConfigResourcesResponse", "client_metrics_resources.name"): "config_resources.resource_name",
}
"""Fields, by message and path, that later releases call otherwise without any change on the wire."""

_RENAMED_TYPES: Mapping[str, str] = {"ClientMetricsResource": "ConfigResource"}
_RENAMED_MESSAGES: Mapping[str, str] = {
    "ListClientMetricsResourcesRequest": "ListConfigResourcesRequest",
    "ListClientMetricsResourcesResponse": "ListConfigResourcesResponse",
    "LegacyOffsetCommitKey": "OffsetCommitKey",
    "LegacyOffsetCommitValue": "OffsetCommitValue",
}
"""Kafka 4 gave the offset commits of type 0 their own name; their bytes did not change."""


def parse(text: str) -> Mapping[str, Any]:
    """One of Kafka's JSON files, which have whole-line comments."""
    data: Mapping[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return data


def definition(data: Mapping[str, Any]) -> Definition:
    """The view of one of Kafka's definitions."""
    return _Reader(data).definition()


def _versions(text: str | None) -> range:
    """``none``, ``3``, ``3-7`` or ``3+``."""
    if text is None or text == "none":
        return range(0)
    first, dash, last = text.removesuffix("+").partition("-")
    if text.endswith("+"):
        return range(int(first), _LAST + 1)
    return range(int(first), int(last if dash else first) + 1)


class _Reader:
    """Reads one definition; ``shift`` is added to versions."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.name: str = _RENAMED_MESSAGES.get(data["name"], data["name"])
        self.data = data
        # Kafka 4 gives keys of coordinator records version 0 and a type; 3.9 called the type a version. The
        # bytes are the same, and our specs keep the type as the version.
        self.shift: int = data["apiKey"] if data.get("type") == "coordinator-key" else 0
        self.flexible = _versions(data.get("flexibleVersions"))
        self.structs: dict[str, Sequence[Mapping[str, Any]]] = {
            struct["name"]: struct["fields"] for struct in data.get("commonStructs", ())
        }
        self.flags: dict[str, Flags] = {}

    def definition(self) -> Definition:
        versions = _versions(self.data["validVersions"])
        fields = self.data.get("fields", ())
        rows = {
            version + self.shift: in_wire_order(self._rows(fields, version, "", "")) for version in versions
        }
        return Definition(
            name=self.name,
            versions=tuple(version + self.shift for version in versions),
            flexible=frozenset(version + self.shift for version in versions if version in self.flexible),
            rows=rows,
            flags=self.flags,
        )

    def _rows(
        self, fields: Sequence[Mapping[str, Any]], version: int, prefix: str, kafka_prefix: str
    ) -> Iterator[tuple[Row, Sequence[Row]]]:
        for data in fields:
            kafka_path = kafka_prefix + snake_case(data["name"])
            path = _RENAMED.get((self.name, kafka_path), prefix + snake_case(data["name"]))
            self.flags[path] = Flags(bool(data.get("ignorable")), bool(data.get("mapKey")))
            if version not in _versions(data.get("versions", data.get("taggedVersions"))):
                continue
            is_array, base = data["type"].startswith("[]"), data["type"].removeprefix("[]")
            below: Sequence[Row] = ()
            if base not in PRIMITIVES:
                members = data.get("fields") or self.structs[base]
                below = in_wire_order(self._rows(members, version, f"{path}.", f"{kafka_path}."))
            flexible = _versions(data["flexibleVersions"]) if "flexibleVersions" in data else self.flexible
            row = Row(
                path=path,
                type=("[]" if is_array else "") + _RENAMED_TYPES.get(base, base),
                nullable=version in _versions(data.get("nullableVersions")),
                tag=data.get("tag") if version in _versions(data.get("taggedVersions")) else None,
                default=_default(data.get("default"), base, is_array),
                compact=version in flexible,
            )
            yield row, below


def _default(value: Any, base: str, is_array: bool) -> Any:
    """A JSON null and a missing default both mean the type's own; the text "null" means null."""
    if value == "null":
        return None
    if is_array or base not in PRIMITIVES:
        return ()
    text = "" if value is None else str(value).lower() if base == "bool" else str(value)
    if base in INTEGER_BOUNDS:
        return int(text, 0) if text else 0
    if base == "bool":
        return text == "true"
    if base == "float64":
        return float(text) if text else 0.0
    return {"uuid": bytes(16), "bytes": b"", "records": None}.get(base, text)
