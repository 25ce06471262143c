"""Single records of magic 2: finding their fields, walking their lengths, writing them.

Source: Kafka's ``DefaultRecord``. A record is a varint length, then attributes, timestamp delta, offset
delta, nullable key and value, and headers. Walking looks at lengths only, and is much cheaper.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pybroker.model.errors import ErrorCode
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import Buffer
from pybroker.records.varint import decode_varint, encode_varint

Headers = Sequence[tuple[str, bytes | None]]

MIN_RECORD_BODY_BYTES = 6
"""Attributes, two deltas, two sizes and the header count, of one byte each."""

_new = tuple.__new__
_NO_LIMIT = 1 << 31
_NULL = b"\x01"
"""The size of a field that is not there: -1."""

_NO_HEADERS = b"\x00"

_BEYOND = 1 << 40
"""A step out of any buffer: where a walk goes from a length that cannot be."""

_STRETCH = 128
"""So many records are stepped over one by one before it is asked again whether the next ones are alike."""

_RUN = 32
_GLANCE = 8
"""How many records are looked at first; eight times as many whenever all are alike."""

# Steps from one record to the next, by the length's only byte, or by the sum of its first and its second.
# A length is zig-zag encoded, so an odd first byte is negative.
_STEP = [1 + (b >> 1) if not b & 1 and b >> 1 >= MIN_RECORD_BODY_BYTES else _BEYOND for b in range(128)]
_STEP_LOW = [2 + ((b & 0x7F) >> 1) if not b & 1 else _BEYOND for b in range(256)]
_STEP_HIGH = [c << 6 for c in range(128)]


class Fields(NamedTuple):
    """Where the fields of one record lie in its buffer. A size below 0 is null."""

    end: int
    timestamp_delta: int
    offset_delta: int
    key_at: int
    key_size: int
    value_at: int
    value_size: int
    headers_at: int
    header_count: int


def walk_lengths(buffer: Buffer, position: int, count: int) -> tuple[int, int]:
    """Step over at most ``count`` records by their lengths alone.

    Returns the position of the first record that was not stepped over, or past the buffer when the last one
    ends later, and how many were. An impossible length steps far beyond any buffer.
    """
    done = walked = 0
    try:
        while done < count:
            if count - done > _GLANCE:
                position, alike = _skip_alike(buffer, position, count - done)
                done += alike
                if alike >= _RUN:
                    continue  # another run may follow: an offset or a time has become a byte longer
            stretch = min(_STRETCH, count - done)
            for walked in range(stretch):  # noqa: B007 (how far it came is the answer when the buffer ends)
                byte = buffer[position]
                if byte < 0x80:
                    position += _STEP[byte]
                else:
                    high = buffer[position + 1]
                    if high < 0x80:
                        position += _STEP_LOW[byte] + _STEP_HIGH[high]
                    else:
                        position = _long_step(buffer, position)
            done += stretch
            walked = 0
    except IndexError:
        return position, done + walked
    return position, count


def _skip_alike(buffer: Buffer, position: int, limit: int) -> tuple[int, int]:
    """Step over records that are as long as the next one, as far as that shows at a glance: every so many
    bytes the same length. Many producers send records of one size. Returns as :func:`walk_lengths`."""
    if position + 1 >= len(buffer):
        return position, 0
    first, second = buffer[position], buffer[position + 1]
    if first < 0x80:
        length: tuple[int, ...] = (first,)
        step = _STEP[first]
    elif second < 0x80:
        length = first, second
        step = _STEP_LOW[first] + _STEP_HIGH[second]
    else:
        return position, 0
    if position + step >= len(buffer) or buffer[position + step] != first:
        return position, 0
    done = 0
    look = _GLANCE
    while look := min(look, limit - done):
        alike = look
        for at, byte in enumerate(length, position):
            seen = bytes(buffer[at : at + step * look : step])
            alike = min(alike, len(seen) - len(seen.lstrip(bytes((byte,)))))
        done += alike
        position += step * alike
        if alike < look:
            break
        look *= 8
    return position, done


def _long_step(buffer: Buffer, position: int) -> int:
    try:
        length, after = decode_varint(buffer, position)
    except ValueError:
        return position + _BEYOND
    return after + length if length >= MIN_RECORD_BODY_BYTES else position + _BEYOND


def check_lengths(pieces: Iterator[bytes], count: int) -> None:
    """Check that a stream of pieces holds exactly ``count`` records, by their lengths.

    Raises:
        InvalidRecords: the stream ends too early or too late (``INVALID_RECORD``).
    """
    left = count
    skip = 0
    carry = b""
    for piece in pieces:
        if carry:
            piece = carry + piece
            carry = b""
        size = len(piece)
        if skip >= size:
            skip -= size
            continue
        if left == 0:
            raise bad_record("bytes are left after the last record")
        position, done = walk_lengths(piece, skip, left)
        left -= done
        if position < size:
            if left == 0:
                raise bad_record("bytes are left after the last record")
            carry = piece[position:]
            skip = 0
        else:
            skip = position - size
    if left or skip or carry:
        raise bad_record("the records end too early")


def scan_record(buffer: Buffer, position: int) -> Fields:
    """Find the fields of the record at a position, and check that they fill it exactly.

    Raises:
        InvalidRecords: the record does not fit the buffer or its own length (``INVALID_RECORD``).
    """
    # Numbers of one byte are decoded in place: this is the inner loop of full validation.
    try:
        length, start = decode_varint(buffer, position)
        end = start + length
        if end > len(buffer):
            raise bad_record(f"a record claims {length} bytes, {len(buffer) - start} are left")
        timestamp_delta, position = decode_varint(buffer, start + 1, 10)
        byte = buffer[position]
        if byte < 0x80:
            offset_delta = byte >> 1 ^ -(byte & 1)
            position += 1
        else:
            offset_delta, position = decode_varint(buffer, position)
        byte = buffer[position]
        if byte < 0x80:
            key_size = byte >> 1 ^ -(byte & 1)
            key_at = position + 1
        else:
            key_size, key_at = decode_varint(buffer, position)
        value_size, value_at = decode_varint(buffer, key_at + key_size if key_size > 0 else key_at)
        position = value_at + value_size if value_size > 0 else value_at
        header_count = buffer[position]
        headers_at = position = position + 1
        if header_count:
            header_count, headers_at = decode_varint(buffer, position - 1)
            position = _skip_headers(buffer, headers_at, end, header_count)
    except (IndexError, ValueError) as error:
        raise bad_record("a record's fields do not fit it") from error
    if position != end:
        raise bad_record(f"a record claims {length} bytes, its fields take {position - start}")
    return _new(
        Fields,
        (
            end,
            timestamp_delta,
            offset_delta,
            key_at,
            key_size,
            value_at,
            value_size,
            headers_at,
            header_count,
        ),
    )


def _skip_headers(buffer: Buffer, position: int, end: int, count: int) -> int:
    if count < 0 or count > end - position:
        raise bad_record(f"a record claims {count} headers")
    for _ in range(count):
        size, position = decode_varint(buffer, position)
        if size < 0:
            raise bad_record("a record header has no name")
        size, position = decode_varint(buffer, position + size)
        if size > 0:
            position += size
    return position


def read_headers(buffer: Buffer, fields: Fields) -> tuple[tuple[str, bytes | None], ...]:
    """The headers of a scanned record. Undecodable bytes of names are kept (surrogateescape)."""
    position = fields.headers_at
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(fields.header_count):
        size, position = decode_varint(buffer, position)
        name = bytes(buffer[position : position + size]).decode("utf-8", "surrogateescape")
        size, position = decode_varint(buffer, position + size)
        if size < 0:
            headers.append((name, None))
        else:
            headers.append((name, bytes(buffer[position : position + size])))
            position += size
    return tuple(headers)


def stream_records(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, Fields]]:
    """Scan the records of a stream, as (the bytes that hold it, its fields). One record at a time is held.

    Raises:
        InvalidRecords: the stream ends inside a record, or a record is malformed (``INVALID_RECORD``).
    """
    buffer = b""
    position = 0
    while True:
        end, whole = walk_lengths(buffer, position, _NO_LIMIT)
        if end > len(buffer):
            whole -= 1
        for _ in range(whole):
            fields = scan_record(buffer, position)
            yield buffer, fields
            position = fields.end
        buffer = _refill(buffer[position:], pieces)
        position = 0
        if not buffer:
            return


def _refill(rest: bytes, pieces: Iterator[bytes]) -> bytes:
    """Add pieces to the beginning of a record until it is whole; empty when the stream has ended."""
    end, known = walk_lengths(rest, 0, 1)
    if end >= _BEYOND:
        raise bad_record("a record's length is impossible")
    wanted = end if known else len(rest) + 1
    parts = [rest]
    size = len(rest)
    while size < wanted and (piece := next(pieces, None)) is not None:
        parts.append(piece)
        size += len(piece)
    if 0 < size < wanted:
        raise bad_record("the records end too early")
    return b"".join(parts)


def encode_record(
    timestamp_delta: int, offset_delta: int, key: Buffer | None, value: Buffer | None, headers: Headers = ()
) -> bytes:
    """One record with its length, as Kafka writes it."""
    parts: list[Buffer] = [
        b"\x00",
        encode_varint(timestamp_delta),
        encode_varint(offset_delta),
        _NULL if key is None else encode_varint(len(key)),
        key or b"",
        _NULL if value is None else encode_varint(len(value)),
        value or b"",
        encode_varint(len(headers)),
    ]
    for name, content in headers:
        raw = name.encode("utf-8", "surrogateescape")
        parts.append(encode_varint(len(raw)))
        parts.append(raw)
        if content is None:
            parts.append(_NULL)
        else:
            parts.append(encode_varint(len(content)))
            parts.append(content)
    body = b"".join(parts)
    return encode_varint(len(body)) + body


def encode_plain_records(
    timestamp_delta: int, offset_delta: int, records: Iterable[tuple[Buffer | None, Buffer | None]]
) -> bytes:
    """Keys and values as records without headers, of one timestamp and with offsets that count up from
    ``offset_delta``: the same bytes as :func:`encode_record` gives for each."""
    parts: list[Buffer] = []
    start = b"\x00" + encode_varint(timestamp_delta)
    for delta, (key, value) in enumerate(records, offset_delta):
        body = b"".join(
            (
                start,
                encode_varint(delta),
                _NULL if key is None else encode_varint(len(key)),
                key or b"",
                _NULL if value is None else encode_varint(len(value)),
                value or b"",
                _NO_HEADERS,
            )
        )
        parts += encode_varint(len(body)), body
    return b"".join(parts)


def bad_record(message: str) -> InvalidRecords:
    """The refusal of bytes that are no records."""
    return InvalidRecords(ErrorCode.INVALID_RECORD, message)
