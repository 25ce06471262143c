"""Random requests that are well-formed and mean something: names that exist and names that do not, small
numbers, short waits. Built from the specs, so that every API and every version of it has them."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from pybroker.protocol.apis import ApiSpec
from pybroker.protocol.message_classes import Message
from pybroker.protocol.spec_model import FieldSpec
from pybroker.records.builder import build_batch
from pybroker.records.header import Record

TOPIC = "orders"
"""The topic that the test has made."""

NAMES = (TOPIC, TOPIC, TOPIC, "missing", "not a name", "", "0", "7")
INTEGERS = (0, 0, 1, 1, 2, -1, 3, 5)
SHORT_WAITS_MS = (0, 1, 20)
COUNTS = (-1, 0, 1, 2, 3)
CONFIG_VALUES = ("", "1", "-1", "x", "delete", "compact")
CONFIG_NAMES = (
    "retention.ms",
    "cleanup.policy",
    "log.retention.ms",
    "broker.id",
    "no.such.key",
    "segment.ms",
)


def _records(rng: random.Random) -> bytes | None:
    batch = build_batch([Record(0, 1_700_000_000_000, b"key", b"value")])
    return rng.choice((bytes(batch), bytes(batch), b"", b"\0" * 80, bytes(batch)[:-3], None))


BY_NAME: Mapping[str, Callable[[random.Random], Any]] = {
    "acks": lambda rng: rng.choice((1, -1, 2)),
    "broker_epoch": lambda rng: 0,
    "broker_id": lambda rng: 99,
    "controller_epoch": lambda rng: 0,
    "configuration_keys": lambda rng: rng.choice((None, [], ["retention.ms", "broker.id", "no.such.key"])),
    "count": lambda rng: rng.choice(COUNTS),
    # Kafka answers levels that do not exist with UNKNOWN_SERVER_ERROR too.
    "isolation_level": lambda rng: rng.choice((0, 1)),
    "max_wait_ms": lambda rng: rng.choice(SHORT_WAITS_MS),
    "num_partitions": lambda rng: rng.choice(COUNTS),
    "operation": lambda rng: rng.choice((1, 2, 9)),
    "partition_max_bytes": lambda rng: rng.choice((0, 1, 1 << 20)),
    "pattern_type_filter": lambda rng: rng.choice((1, 3)),
    "permission_type": lambda rng: rng.choice((1, 2, 3)),
    "rebalance_timeout_ms": lambda rng: rng.choice((1, 50)),
    "records": _records,
    "replica_id": lambda rng: rng.choice((-1, -1, -2, 1)),
    "resource_pattern_type": lambda rng: rng.choice((3, 4)),
    "resource_type_filter": lambda rng: rng.choice((1, 2)),
    "resource_type": lambda rng: rng.choice((2, 2, 4, 4, 8, 16, 1)),
    "session_timeout_ms": lambda rng: rng.choice((1, 6000)),
    "timeout_ms": lambda rng: rng.choice(SHORT_WAITS_MS),
}


def random_request(rng: random.Random, api: ApiSpec, version: int, topic_id: bytes) -> Message:
    """A request of an API in a version."""
    request = api.request()
    _fill(rng, request, api.request, api.request.__spec__.fields, version, topic_id)
    return request


def _fill(
    rng: random.Random,
    target: Any,
    owner: type[Message],
    fields: tuple[FieldSpec, ...],
    version: int,
    topic_id: bytes,
) -> None:
    for field in fields:
        if version in field.versions:
            setattr(target, field.name, _value(rng, owner, field, version, topic_id))


def _value(rng: random.Random, owner: type[Message], field: FieldSpec, version: int, topic_id: bytes) -> Any:
    chosen = BY_NAME.get(field.name)
    if chosen is not None and not field.is_struct:
        value = chosen(rng)
        if value is not None or version in field.nullable:
            return value
    if field.is_array:
        if version in field.nullable and rng.random() < 0.15:
            return None
        return [_item(rng, owner, field, version, topic_id) for _ in range(rng.choice((0, 1, 1, 2)))]
    return _item(rng, owner, field, version, topic_id)


def _item(rng: random.Random, owner: type[Message], field: FieldSpec, version: int, topic_id: bytes) -> Any:
    if field.is_struct:
        item = getattr(owner, field.type)()
        _fill(rng, item, owner, owner.__spec__.structs[field.type].fields, version, topic_id)
        return item
    nullable = version in field.nullable and not field.is_array
    if nullable and rng.random() < 0.2:
        return None
    match field.type:
        case "bool":
            return rng.random() < 0.5
        case "string":
            if "Config" not in _struct_of(owner, field) or field.name.startswith("resource"):
                return rng.choice(NAMES)
            return rng.choice(CONFIG_VALUES if field.name == "value" else CONFIG_NAMES)
        case "bytes" | "records":
            return rng.choice((b"", b"bytes"))
        case "uuid":
            return rng.choice((topic_id, topic_id, bytes(16), bytes(range(16))))
        case "float64":
            return 1.5
        case "uint16" | "uint32":
            return rng.choice((0, 1, 9))
        case _:
            return rng.choice(INTEGERS)


def _struct_of(owner: type[Message], field: FieldSpec) -> str:
    """The struct that a field is in, empty at the top."""
    return next((name for name, struct in owner.__spec__.structs.items() if field in struct.fields), "")
