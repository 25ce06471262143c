"""Messages of magic 0 and 1: reading and writing message sets.

A message set is a plain sequence of messages. A compressed one is a single wrapper message whose value is a
compressed message set; in magic 1 the offsets inside count from the first message, and the wrapper has the
offset of the last one. Source: Kafka's ``LegacyRecord`` and ``AbstractLegacyRecordBatch``.
"""

import zlib
from collections.abc import Iterable, Iterator
from struct import Struct, error
from typing import NamedTuple

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import Offset
from pybroker.model.values import Value
from pybroker.records.batch import checked_pieces
from pybroker.records.compression import DEFAULT_CEILING_BYTES, compress
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import (
    COMPRESSION_MASK,
    MIN_MESSAGE_BYTES,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_FLAG,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
    next_batch_size,
)
from pybroker.records.layout import (
    LOG_OVERHEAD,
    LOG_OVERHEAD_BYTES,
    MAGIC_POSITION,
    MESSAGE_HEADER_V0,
    MESSAGE_HEADER_V1,
    offset_of,
    struct_of,
)

_HEADERS = (struct_of(MESSAGE_HEADER_V0), struct_of(MESSAGE_HEADER_V1))
_UNCHECKED = struct_of(MESSAGE_HEADER_V0, last="crc")
_CHECKED = (
    struct_of(MESSAGE_HEADER_V0, first="magic"),
    struct_of(MESSAGE_HEADER_V1, first="magic"),
)
_ATTRIBUTES_POSITION = offset_of(MESSAGE_HEADER_V0, "attributes")
_OVERHEAD = struct_of(LOG_OVERHEAD)
_SIZE: Struct = struct_of(LOG_OVERHEAD, first="size")


class Message(NamedTuple):
    """One message. ``timestamp`` is -1 in magic 0; ``body`` is what its CRC covers."""

    offset: Offset
    crc: int
    magic: int
    attributes: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    body: memoryview

    @property
    def compression_id(self) -> int:
        """The raw codec number, 0 to 7; not 0 makes it a wrapper."""
        return self.attributes & COMPRESSION_MASK

    @property
    def timestamp_type(self) -> TimestampType | None:
        """Who set the timestamp; None in magic 0, which has none."""
        if self.magic == 0:
            return None
        return (
            TimestampType.LOG_APPEND_TIME
            if self.attributes & TIMESTAMP_TYPE_FLAG
            else TimestampType.CREATE_TIME
        )

    @property
    def size_in_bytes(self) -> int:
        """Bytes of the whole message with its offset and size."""
        return MAGIC_POSITION + len(self.body)


def message_crc_is_valid(message: Buffer) -> bool:
    """Whether one whole message has the CRC-32 that it claims; nothing else is read."""
    view = memoryview(message)
    return bool(zlib.crc32(view[MAGIC_POSITION:]) == _UNCHECKED.unpack_from(view)[2])


def message_codec(message: Buffer) -> int:
    """The raw codec number of one whole message, 0 to 7; nothing else is read."""
    return message[_ATTRIBUTES_POSITION] & COMPRESSION_MASK


def read_message(buffer: Buffer, position: int, size: int) -> Message:
    """Read the message of ``size`` bytes (:func:`next_batch_size`) at a position.

    Raises:
        InvalidRecords: its sizes do not fit it (``UNKNOWN_SERVER_ERROR``, which is what Kafka makes of it).
    """
    view = memoryview(buffer)[position : position + size]
    magic = view[MAGIC_POSITION]
    try:
        header = _HEADERS[1 if magic else 0]
        offset, _, crc, _, attributes, *rest = header.unpack_from(view)
        key, at = _read_field(view, header.size)
        value, at = _read_field(view, at)
    except error as too_short:
        raise _broken() from too_short
    return Message(
        offset, crc, magic, attributes, rest[0] if rest else NO_TIMESTAMP, key, value, view[MAGIC_POSITION:]
    )


def _read_field(view: memoryview, position: int) -> tuple[bytes | None, int]:
    size: int = _SIZE.unpack_from(view, position)[0]
    position += _SIZE.size
    if size < 0:
        return None, position
    end = position + size
    if end > len(view):
        raise _broken()
    return bytes(view[position:end]), end


def _broken() -> InvalidRecords:
    return InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, "the sizes in a message do not fit it")


class InnerMessages(Value):
    """The messages inside a wrapper; each iteration reads them anew, one at a time."""

    _wrapper: Message
    _data: bytes
    _base_offset: Offset

    def __iter__(self) -> Iterator[Message]:
        """With absolute offsets and final timestamps; CRCs are not checked."""
        return self.read(verify=False)

    def read(self, *, verify: bool) -> Iterator[Message]:
        """As iterating, and with ``verify`` the CRC of each message is checked before its fields are read.

        Raises:
            InvalidRecords: a message is compressed (``INVALID_RECORD``), its CRC is wrong
                (``CORRUPT_MESSAGE``), or as :func:`read_message` raises.
        """
        by_broker = self._wrapper.timestamp_type is TimestampType.LOG_APPEND_TIME
        base = self._base_offset
        view = memoryview(self._data)
        for position, size in _iter_inner(self._data):
            one = view[position : position + size]
            compressed = message_codec(one)
            checked = verify and not compressed and one[MAGIC_POSITION] == self._wrapper.magic
            if checked and not message_crc_is_valid(one):
                raise InvalidRecords(ErrorCode.CORRUPT_MESSAGE, "a message inside another is corrupt")
            message = read_message(one, 0, size)
            if compressed:
                raise _invalid("a message inside a compressed one must not be compressed")
            if by_broker and message.magic == 1:
                message = message._replace(timestamp=self._wrapper.timestamp)
            yield message._replace(offset=base + message.offset) if base else message


def open_wrapper(wrapper: Message, *, ceiling_bytes: int = DEFAULT_CEILING_BYTES) -> InnerMessages:
    """Decompress a wrapper. A last message inside that is cut is dropped, as Kafka does.

    Raises:
        InvalidRecords: the wrapper holds nothing, or what it must not (``INVALID_RECORD``), a size inside is
            impossible (``CORRUPT_MESSAGE``), or as :func:`pybroker.records.batch.open_pieces`.
    """
    if wrapper.compression_id == CompressionType.ZSTD:
        raise _invalid("a message set cannot be compressed with zstd")
    if wrapper.value is None:
        raise _invalid("a compressed message set is null")
    data = b"".join(checked_pieces(wrapper.compression_id, wrapper.value, wrapper.magic, ceiling_bytes))
    last_position = -1
    for position, _ in _iter_inner(data):
        last_position = position
    if last_position < 0:
        raise _invalid("a compressed message set is empty")
    if wrapper.magic == 0:
        return InnerMessages(wrapper, data, 0)
    last, _ = _OVERHEAD.unpack_from(data, last_position)
    # Some versions of librdkafka leave the wrapper's offset at 0 when they produce.
    if 0 != wrapper.offset < last:
        raise _invalid(f"the offset {wrapper.offset} of a compressed message set is below its last, {last}")
    return InnerMessages(wrapper, data, wrapper.offset - last if wrapper.offset else 0)


def records_of(message: Message, *, ceiling_bytes: int = DEFAULT_CEILING_BYTES) -> Iterator[Record]:
    """The records of one message, itself or those that it wraps; raises as :func:`open_wrapper`."""
    inner = open_wrapper(message, ceiling_bytes=ceiling_bytes) if message.compression_id else (message,)
    return (Record(one.offset, one.timestamp, one.key, one.value) for one in inner)


def _iter_inner(data: bytes) -> Iterator[tuple[int, int]]:
    """The whole messages of a decompressed set, as (position, size)."""
    position = 0
    while position + LOG_OVERHEAD_BYTES <= len(data):
        _, size = _OVERHEAD.unpack_from(data, position)
        if size < MIN_MESSAGE_BYTES:
            raise InvalidRecords(ErrorCode.CORRUPT_MESSAGE, f"message size {size} is too small")
        size += LOG_OVERHEAD_BYTES
        if position + size > len(data):
            return
        yield position, size
        position += size


def iter_message_set(buffer: Buffer, *, ceiling_bytes: int = DEFAULT_CEILING_BYTES) -> Iterator[Record]:
    """All records of a message set of magic 0 or 1, those in wrappers too. CRCs are not checked.

    Raises:
        InvalidRecords: the set is damaged.
    """
    position = 0
    while (size := next_batch_size(buffer, position)) is not None:
        if buffer[position + MAGIC_POSITION] > 1:
            raise _invalid("a record batch of magic 2 stands in a message set")
        yield from records_of(read_message(buffer, position, size), ceiling_bytes=ceiling_bytes)
        position += size


def build_message(
    magic: int, offset: Offset, timestamp: int, key: Buffer | None, value: Buffer | None, attributes: int = 0
) -> bytes:
    """One message with its CRC; a timestamp is left out in magic 0."""
    parts: list[Buffer] = [
        _CHECKED[1].pack(magic, attributes, timestamp) if magic else _CHECKED[0].pack(magic, attributes)
    ]
    for field in (key, value):
        parts.append(_SIZE.pack(-1 if field is None else len(field)))
        if field is not None:
            parts.append(field)
    body = b"".join(parts)
    return _UNCHECKED.pack(offset, MAGIC_POSITION - LOG_OVERHEAD_BYTES + len(body), zlib.crc32(body)) + body


def build_message_set(
    records: Iterable[Record],
    magic: int,
    *,
    compression: CompressionType = CompressionType.NONE,
    timestamp_type: TimestampType = TimestampType.CREATE_TIME,
    log_append_time_ms: int = NO_TIMESTAMP,
    ceiling_bytes: int = DEFAULT_CEILING_BYTES,
) -> bytes:
    """A message set of magic 0 or 1; headers are lost. Compressed, it is one wrapper.

    Source: Kafka's ``MemoryRecordsBuilder``.

    Raises:
        ValueError: there is no such magic, or zstd is asked for, which message sets do not know.
        InvalidRecords: it would take more than ``ceiling_bytes`` before compression (``MESSAGE_TOO_LARGE``).
    """
    if magic not in (0, 1) or compression is CompressionType.ZSTD:
        raise ValueError(f"message sets of magic {magic} with {compression.name} do not exist")
    by_broker = magic == 1 and timestamp_type is TimestampType.LOG_APPEND_TIME
    flags = TIMESTAMP_TYPE_FLAG if by_broker else 0
    messages = bytearray()
    base: Offset | None = None
    latest = log_append_time_ms if by_broker else NO_TIMESTAMP
    last = 0
    for record in records:
        if base is None:
            base = record.offset if magic and compression else 0
        last = record.offset
        timestamp = log_append_time_ms if by_broker else record.timestamp
        latest = max(latest, timestamp)
        messages += build_message(magic, last - base, timestamp, record.key, record.value, flags)
        if len(messages) > ceiling_bytes:
            message = f"a message set takes more than {ceiling_bytes} bytes"
            raise InvalidRecords(ErrorCode.MESSAGE_TOO_LARGE, message)
    if not compression or base is None:
        return bytes(messages)
    packed = compress(compression, messages, magic=magic)
    return build_message(magic, last, latest, None, packed, flags | compression)


def _invalid(message: str) -> InvalidRecords:
    return InvalidRecords(ErrorCode.INVALID_RECORD, message)
