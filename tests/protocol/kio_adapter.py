"""Our messages as kio's entities, field by field. kio is an independent codec made from Kafka 4.x.

kio has one class for each version of a message, wraps some integers (durations, times, error codes) and
leaves ``_ms`` off their names. Integers are moved into the range of these wrappers first, in ours too.
"""

import dataclasses
import datetime
import uuid
from collections.abc import Iterator
from typing import Any, get_args

from kio.index import UnknownEntity, load_entity_schema
from kio.schema.errors import ErrorCode
from kio.serial.readers import tz_aware_from_i64
from kio.static.constants import EntityType
from kio.static.primitive import Records, i32Timedelta, i64, i64Timedelta

from pybroker.protocol.message_classes import Message
from pybroker.protocol.specs import FieldSpec, snake_case

KINDS = {"Request": EntityType.request, "Response": EntityType.response}
HEADERS = ("RequestHeader", "ResponseHeader")
MAX_TIME_MS = 4 * 10**12


def kio_entity(name: str, version: int) -> type[Any] | None:
    """kio's class for a version of our message; None when it has none."""
    kind = EntityType.header if name in HEADERS else EntityType.data
    plain = name
    for suffix, payload in KINDS.items():
        if name.endswith(suffix):
            kind, plain = payload, name.removesuffix(suffix)
    try:
        return load_entity_schema(snake_case(plain), version, kind)
    except UnknownEntity:
        return None


def to_kio(message: Any, entity: type[Any], version: int) -> Any:
    """The entity that stands for the message, whose integers are changed where kio's types are narrower."""
    values = {}
    for (spec, field), hint in zip(pairs(message, entity, version), hints(entity), strict=True):
        value = fit(getattr(message, spec.name), spec, field.metadata.get("kafka_type"))
        setattr(message, spec.name, value)
        values[field.name] = convert(value, spec, field.metadata.get("kafka_type"), hint, version)
    return entity(**values)


def pairs(
    message: Message, entity: type[Any], version: int
) -> Iterator[tuple[FieldSpec, dataclasses.Field[Any]]]:
    """Our fields of that version beside kio's; ours are never shorter: units, newer words."""
    spec = message.__spec__
    own = spec.fields if type(message).__name__ == spec.name else spec.structs[type(message).__name__].fields
    present = [field for field in own if version in field.versions]
    for ours, theirs in zip(present, dataclasses.fields(entity), strict=True):
        assert ours.name.startswith(theirs.name.rstrip("_")), (entity, ours.name, theirs.name)
        yield ours, theirs


def hints(entity: type[Any]) -> Iterator[type[Any] | None]:
    """For each field the entity class inside its annotation, None when it holds none."""
    for field in dataclasses.fields(entity):
        yield next((kind for kind in leaves(field.type) if dataclasses.is_dataclass(kind)), None)


def leaves(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from leaves(argument)


def fit(value: Any, spec: FieldSpec, kafka_type: str | None) -> Any:
    if isinstance(value, list):
        return [fit(item, spec, kafka_type) for item in value]
    if kafka_type == "error_code":
        return value % len(ErrorCode) - 1
    if kafka_type in ("timedelta_i64", "datetime_i64"):
        return value % MAX_TIME_MS
    return value


def convert(
    value: Any, spec: FieldSpec, kafka_type: str | None, entity: type[Any] | None, version: int
) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(convert(item, spec, kafka_type, entity, version) for item in value)
    if entity is not None:
        return to_kio(value, entity, version)
    match kafka_type:
        case "error_code":
            return ErrorCode(value)
        case "timedelta_i32":
            return i32Timedelta.parse(datetime.timedelta(milliseconds=value))
        case "timedelta_i64":
            return i64Timedelta.parse(datetime.timedelta(milliseconds=value))
        case "datetime_i64":
            return tz_aware_from_i64(i64(value))
        case "uuid":
            return uuid.UUID(bytes=value) if any(value) else None
        case "records":
            return Records(value)
    return value
