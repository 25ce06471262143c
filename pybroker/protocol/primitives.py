"""The closed vocabulary of Kafka's wire format, as constructs.

Every message version is a tree of these nodes and nothing else (``schema.py`` builds it). Each node parses
and builds by itself, which serves tests and debugging; ``generate_decoder.py`` and ``generate_encoder.py``
turn the same tree into straight-line code. Compactness and nullability are constructor arguments, never
lambdas, so that the walkers see everything.

Bounds: a length or count is compared with the bytes left before anything is made from it; a varint ends after
five bytes; an element of an array takes at least one byte, so N bytes never make more than N objects.
"""

# construct calls _parse, _build and _sizeof with arguments that not every node needs:
# ruff: noqa: ARG002

import struct
from collections.abc import Callable, Mapping
from io import SEEK_END
from typing import IO, Any

from construct import Construct, ConstructError, Container, Renamed, Struct

from pybroker.model.values import Value
from pybroker.protocol.errors import UnsupportedVersion
from pybroker.protocol.wire import MAX_UVARINT, VarintOverflow, uvarint

MAX_TEXT_BYTES = 0x7FFF
"""Longest string in UTF-8, also in compact form, where the prefix could say more (Kafka refuses it too)."""

MAX_LENGTH = 0x7FFFFFFF

Stream = IO[bytes]


class WireError(ConstructError):  # type: ignore[misc]
    """The bytes, or the value to build, break a rule of this vocabulary."""


def bytes_left(stream: Stream) -> int:
    """Bytes between the position of a seekable stream and its end."""
    here = stream.tell()
    end = stream.seek(0, SEEK_END)
    stream.seek(here)
    return end - here


def read_exactly(stream: Stream, size: int, path: str) -> bytes:
    """``size`` bytes, or :class:`WireError` before any of them is allocated."""
    if size > bytes_left(stream):
        raise WireError(f"{size} bytes announced, {bytes_left(stream)} left", path)
    return stream.read(size)


def read_uvarint(stream: Stream, path: str) -> int:
    """An unsigned varint of at most 5 bytes and 32 bits. Padded forms (``80 00``) are read, as Kafka does."""
    value = 0
    for shift in (0, 7, 14, 21, 28):
        byte = read_exactly(stream, 1, path)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    else:
        raise WireError("varint longer than 5 bytes", path)
    if value > MAX_UVARINT:
        raise WireError("varint over 32 bits", path)
    return value


def build_uvarint(value: int) -> bytes:
    """As :func:`~pybroker.protocol.wire.uvarint`, but raises :class:`WireError`."""
    try:
        return uvarint(value)
    except VarintOverflow as error:
        raise WireError(str(error)) from None


class WireFormat(Construct):  # type: ignore[misc]
    """A node of the tree. ``min_bytes`` is the size of its smallest value: what an array may count on."""

    min_bytes: int


class Fixed(WireFormat):
    """A number, or the 16 bytes of a uuid, by its format character of :mod:`struct`, big-endian."""

    def __init__(self, format_: str) -> None:
        super().__init__()
        self.format = format_
        self.packer = struct.Struct(">" + format_)
        self.min_bytes = self.packer.size

    def _parse(self, stream: Stream, context: Container, path: str) -> Any:
        return self.packer.unpack(read_exactly(stream, self.packer.size, path))[0]

    def _build(self, obj: Any, stream: Stream, context: Container, path: str) -> Any:
        if self.format == "16s" and len(obj) != 16:
            raise WireError(f"a uuid has 16 bytes, not {len(obj)}", path)
        try:
            stream.write(self.packer.pack(obj))
        except struct.error as error:
            raise WireError(f"{obj!r}: {error}", path) from error
        return obj

    def _sizeof(self, context: Container, path: str) -> int:
        return self.packer.size


BOOL = Fixed("?")
INT8 = Fixed("b")
INT16 = Fixed("h")
UINT16 = Fixed("H")
INT32 = Fixed("i")
UINT32 = Fixed("I")
INT64 = Fixed("q")
FLOAT64 = Fixed("d")
UUID = Fixed("16s")


class Prefixed(WireFormat):
    """A value after its length: when compact a varint of length + 1, where 0 is null, else a signed number,
    where what is below 0 is null."""

    prefix: Fixed

    def __init__(self, *, compact: bool, nullable: bool) -> None:
        super().__init__()
        self.compact = compact
        self.nullable = nullable
        self.min_bytes = 1 if compact else self.prefix.min_bytes

    def read_length(self, stream: Stream, path: str) -> int | None:
        """The length, None for null."""
        if self.compact:
            length = read_uvarint(stream, path) - 1
        else:
            length = self.prefix._parse(stream, Container(), path)
        if length >= 0:
            return length
        if not self.nullable:
            raise WireError("null is not allowed here", path)
        return None

    def write_length(self, length: int | None, stream: Stream, path: str) -> None:
        """Write the prefix of a value of that length, None for null."""
        if length is None:
            if not self.nullable:
                raise WireError("null is not allowed here", path)
            length = -1
        if self.compact:
            stream.write(build_uvarint(length + 1))
        else:
            self.prefix._build(length, stream, Container(), path)


class Text(Prefixed):
    """A string in UTF-8. Bytes that are not UTF-8 are refused."""

    prefix = INT16

    def _parse(self, stream: Stream, context: Container, path: str) -> str | None:
        length = self.read_length(stream, path)
        if length is None:
            return None
        if length > MAX_TEXT_BYTES:
            raise WireError(f"a string of {length} bytes is too long", path)
        try:
            return read_exactly(stream, length, path).decode()
        except UnicodeDecodeError as error:
            raise WireError(f"not UTF-8: {error}", path) from error

    def _build(self, obj: str | None, stream: Stream, context: Container, path: str) -> str | None:
        data = None if obj is None else obj.encode()
        if data is not None and len(data) > MAX_TEXT_BYTES:
            raise WireError(f"a string of {len(data)} bytes is too long", path)
        self.write_length(None if data is None else len(data), stream, path)
        stream.write(data or b"")
        return obj


class Blob(Prefixed):
    """Raw bytes; the generated decoder gives a slice of its input instead of a copy."""

    prefix = INT32

    def _parse(self, stream: Stream, context: Container, path: str) -> bytes | None:
        length = self.read_length(stream, path)
        return None if length is None else read_exactly(stream, length, path)

    def _build(self, obj: Any, stream: Stream, context: Container, path: str) -> Any:
        self.write_length(None if obj is None else len(obj), stream, path)
        stream.write(b"" if obj is None else obj)
        return obj


class Records(Blob):
    """Record batches: bytes, or to the encoder any object with a length that the transport can send."""


class Vector(Prefixed):
    """An array of one element format, as a list."""

    prefix = INT32

    def __init__(self, element: WireFormat, *, compact: bool, nullable: bool) -> None:
        if element.min_bytes < 1:
            raise ValueError("elements that may take no bytes cannot be bounded by the bytes left")
        super().__init__(compact=compact, nullable=nullable)
        self.element = element

    def _parse(self, stream: Stream, context: Container, path: str) -> list[Any] | None:
        count = self.read_length(stream, path)
        if count is None:
            return None
        if count * self.element.min_bytes > bytes_left(stream):
            raise WireError(f"{count} elements announced in {bytes_left(stream)} bytes", path)
        return [self.element._parse(stream, context, path) for _ in range(count)]

    def _build(self, obj: list[Any] | None, stream: Stream, context: Container, path: str) -> Any:
        self.write_length(None if obj is None else len(obj), stream, path)
        for element in obj or ():
            self.element._build(element, stream, context, path)
        return obj


class NullableStructure(WireFormat):
    """A structure or null (KIP-893): null is a byte below 0, or a varint 0 when in a tagged field."""

    def __init__(self, structure: "Structure", *, tagged: bool) -> None:
        super().__init__()
        self.structure = structure
        self.tagged = tagged
        self.min_bytes = 1

    def _parse(self, stream: Stream, context: Container, path: str) -> Any:
        marker = read_uvarint(stream, path) if self.tagged else INT8._parse(stream, context, path)
        if marker < 0 or (self.tagged and marker == 0):
            return None
        return self.structure._parse(stream, context, path)

    def _build(self, obj: Any, stream: Stream, context: Container, path: str) -> Any:
        if obj is None:
            stream.write(b"\0" if self.tagged else b"\xff")
            return None
        stream.write(b"\1")
        return self.structure._build(obj, stream, context, path)


class TaggedField(Value):
    """A field that is written only when it differs from its default, under its tag."""

    tag: int
    name: str
    format: WireFormat
    default: Any


class TaggedFields(WireFormat):
    """The tagged fields at the end of a structure of a flexible version (KIP-482); a dict of those present.

    Tags that this version does not know are skipped. A field must fill the size announced for it exactly.
    """

    def __init__(self, fields: tuple[TaggedField, ...]) -> None:
        super().__init__()
        self.fields = tuple(sorted(fields, key=_tag_of))
        self.by_tag = {field.tag: field for field in fields}
        self.min_bytes = 1

    def _parse(self, stream: Stream, context: Container, path: str) -> dict[str, Any]:
        found = {}
        count = read_uvarint(stream, path)
        if count * 2 > bytes_left(stream):
            raise WireError(f"{count} tagged fields announced in {bytes_left(stream)} bytes", path)
        for _ in range(count):
            field = self.by_tag.get(read_uvarint(stream, path))
            size = read_uvarint(stream, path)
            if size > bytes_left(stream):
                raise WireError(f"{size} bytes announced, {bytes_left(stream)} left", path)
            end = stream.tell() + size
            if field is None:
                stream.seek(end)
                continue
            found[field.name] = field.format._parse(stream, context, f"{path} -> {field.name}")
            if stream.tell() != end:
                raise WireError(f"tagged field {field.name} is not {size} bytes long", path)
        return found

    def _build(self, obj: Mapping[str, Any], stream: Stream, context: Container, path: str) -> Any:
        present = [field for field in self.fields if obj[field.name] != field.default]
        stream.write(build_uvarint(len(present)))
        for field in present:
            body = field.format.build(obj[field.name])
            stream.write(build_uvarint(field.tag) + build_uvarint(len(body)) + body)
        return obj


def _tag_of(field: TaggedField) -> int:
    return field.tag


class AbsentField(Value):
    """A field of the class that this version has no room for: read as its default; if it holds anything else,
    writing drops it when ignorable and refuses it otherwise."""

    name: str
    default: Any
    ignorable: bool


TAGGED = "tagged_fields"


class Structure(Struct):  # type: ignore[misc]
    """The fields of one structure in wire order, then its tagged fields if the version is flexible.

    Parses to an instance of ``factory`` (a message class) and builds from one.
    """

    def __init__(
        self,
        factory: Callable[..., Any],
        members: Mapping[str, WireFormat],
        tagged: TaggedFields | None,
        absent: tuple[AbsentField, ...] = (),
    ) -> None:
        self.factory = factory
        self.members = dict(members)
        self.tagged = tagged
        self.absent = absent
        parts = [Renamed(member, name) for name, member in members.items()]
        super().__init__(*parts, *([Renamed(tagged, TAGGED)] if tagged is not None else []))
        self.min_bytes = sum(member.min_bytes for member in members.values()) + (tagged is not None)

    def _parse(self, stream: Stream, context: Container, path: str) -> Any:
        parsed = super()._parse(stream, context, path)
        values = {name: parsed[name] for name in self.members}
        return self.factory(**values, **parsed.get(TAGGED, {}))

    def _build(self, obj: Any, stream: Stream, context: Container, path: str) -> Any:
        for field in self.absent:
            if not field.ignorable and getattr(obj, field.name) != field.default:
                raise UnsupportedVersion(f"{path} -> {field.name} cannot be sent in this version")
        values = Container({name: getattr(obj, name) for name in self.members})
        if self.tagged is not None:
            values[TAGGED] = {field.name: getattr(obj, field.name) for field in self.tagged.fields}
        return super()._build(values, stream, context, path)
