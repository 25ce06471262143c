"""A reply as plain values: dictionaries, lists, numbers, strings; record bytes opened into their batches."""

from typing import Any

from pybroker.protocol.message_classes import Message
from pybroker.protocol.specs import FieldSpec, MessageSpec
from pybroker.records.batch import crc_is_valid, iter_records, read_batch_header
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import CURRENT_MAGIC, next_batch_size
from pybroker.records.layout import MAGIC_POSITION
from pybroker.records.legacy import message_crc_is_valid, read_message, records_of

Plain = Any


def plain_reply(reply: Message, version: int) -> dict[str, Plain]:
    """The fields that the version has, by name, in wire order."""
    spec = type(reply).__spec__
    return _plain_struct(spec, spec.fields, reply, version)


def _plain_struct(
    spec: MessageSpec, fields: tuple[FieldSpec, ...], holder: Message, version: int
) -> dict[str, Plain]:
    return {
        field.name: _plain(spec, field, getattr(holder, field.name), version)
        for field in fields
        if version in field.versions
    }


def _plain(spec: MessageSpec, field: FieldSpec, value: Any, version: int) -> Plain:
    if value is None:
        return None
    if field.is_array:
        return [_plain_one(spec, field, element, version) for element in value]
    return _plain_one(spec, field, value, version)


def _plain_one(spec: MessageSpec, field: FieldSpec, value: Any, version: int) -> Plain:
    if field.is_struct:
        return _plain_struct(spec, spec.structs[field.type].fields, value, version)
    if field.type == "records":
        return plain_records(bytes(value))
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def plain_records(data: bytes) -> dict[str, Plain]:
    """Batches and old messages, and how many bytes are left that make no whole one."""
    found: list[dict[str, Plain]] = []
    position = 0
    try:
        while (size := next_batch_size(data, position)) is not None and position + size <= len(data):
            found.append(_plain_batch(data[position : position + size]))
            position += size
    except InvalidRecords as error:
        found.append({"unreadable": str(error)})
    return {"batches": found, "left_over_bytes": len(data) - position}


def _plain_batch(data: bytes) -> dict[str, Plain]:
    """Fields and records. The CRC is not a field but a fact; what is compressed counts opened, not packed."""
    if data[MAGIC_POSITION] < CURRENT_MAGIC:
        message = read_message(data, 0, len(data))
        fields = {**message._asdict(), "body": None, "size": len(data)}
        fields["crc"] = message_crc_is_valid(data)
        if message.compression_id:
            fields["value"] = fields["size"] = "packed"
        records = records_of(message)
    else:
        header = read_batch_header(data)
        fields = {**header._asdict(), "crc": crc_is_valid(data)}
        if header.compression_id:
            fields["batch_length"] = "packed"
        records = iter_records(data, header)
    fields["records"] = [
        {name: _text(value) for name, value in record._asdict().items()} for record in records
    ]
    return {name: _text(value) for name, value in fields.items()}


def _text(value: Any) -> Plain:
    return value.hex() if isinstance(value, bytes | memoryview) else value
