"""Messages as plain data (what JSON has), copied, for people and tests to look at; long things cut short."""

import base64
from collections.abc import Iterator
from typing import Any, TypeAlias

from pybroker.model.ids import topic_id_text
from pybroker.protocol.message_classes import Message
from pybroker.protocol.spec_model import FieldSpec
from pybroker.records.batch import iter_records
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import Record, iter_batch_headers

Plain: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None

MAX_TEXT = 1024
"""Bytes of one value that are kept."""

MAX_RECORDS = 100
"""Records of one partition that are kept."""

MAX_RECORD_BYTES = 256 * 1024
"""Record data of one partition that is looked into."""


def plain_message(message: Message) -> dict[str, Any]:
    """A message with its fields by name, uuids as text, bytes as text, records decoded."""
    return _struct(message, message.__spec__.fields)


def plain_bytes(data: bytes | bytearray | memoryview | None) -> str | None:
    """Bytes as text: UTF-8 as it is, anything else in base64 behind ``base64:``."""
    if data is None:
        return None
    kept = bytes(data[:MAX_TEXT])
    more = f"… ({len(data)} bytes)" if len(data) > MAX_TEXT else ""
    try:
        return kept.decode() + more
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(kept).decode() + more


def plain_record(record: Record) -> dict[str, Any]:
    return {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": plain_bytes(record.key),
        "value": plain_bytes(record.value),
        "headers": [[name, plain_bytes(value)] for name, value in record.headers],
    }


def _struct(struct: Message, fields: tuple[FieldSpec, ...]) -> dict[str, Any]:
    return {field.name: _value(getattr(struct, field.name), field, struct) for field in fields}


def _value(value: Any, field: FieldSpec, owner: Message) -> Plain:
    if field.is_array and isinstance(value, (list, tuple)):
        return [_scalar(item, field, owner) for item in value]
    return _scalar(value, field, owner)


def _scalar(value: Any, field: FieldSpec, owner: Message) -> Plain:
    if isinstance(value, Message):
        return _struct(value, owner.__spec__.structs[field.type].fields)
    if value is None or isinstance(value, (bool, int, float, str)):
        plain: Plain = value
        return plain
    if field.type == "records":
        return _records(value)
    if field.type == "uuid":
        return topic_id_text(bytes(value))
    return plain_bytes(value)


def _records(data: Any) -> dict[str, Any]:
    """Record data, of memory or of a file, with as many of its records as are kept."""
    size = len(data)
    head = data.read_at(0, min(size, MAX_RECORD_BYTES)) if hasattr(data, "read_at") else bytes(data)
    return {"bytes": size, "records": [plain_record(record) for record in _first_records(head)]}


def _first_records(data: bytes) -> Iterator[Record]:
    left = MAX_RECORDS
    try:
        for position, header in iter_batch_headers(data):
            end = position + header.size_in_bytes
            if end > len(data) or header.is_control:
                continue
            for record in iter_records(memoryview(data)[position:end], header):
                yield record
                left -= 1
                if left == 0:
                    return
    except InvalidRecords:
        return  # what cannot be read (old formats, damaged or refused data) is shown by its size alone
