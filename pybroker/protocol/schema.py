"""From a message's spec and one of its versions to its tree of constructs."""

from typing import Any

from pybroker.protocol.errors import UnsupportedVersion
from pybroker.protocol.primitives import (
    BOOL,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT16,
    UINT32,
    UUID,
    AbsentField,
    Blob,
    Fixed,
    NullableStructure,
    Records,
    Structure,
    TaggedField,
    TaggedFields,
    Text,
    Vector,
    WireFormat,
)
from pybroker.protocol.specs import FieldSpec, MessageSpec

FIXED: dict[str, Fixed] = {
    "bool": BOOL,
    "int8": INT8,
    "int16": INT16,
    "uint16": UINT16,
    "int32": INT32,
    "uint32": UINT32,
    "int64": INT64,
    "float64": FLOAT64,
    "uuid": UUID,
}


def message_structure(message: type[Any], version: int) -> Structure:
    """The tree of one version of a class of :mod:`pybroker.protocol.messages`.

    Raises:
        UnsupportedVersion: the message has no such version.
    """
    spec: MessageSpec = message.__spec__
    if version not in spec.versions:
        raise UnsupportedVersion(f"{spec.name} has versions {spec.versions}, not {version}")
    return _structure(message, message, spec.fields, version)


def _structure(
    message: type[Any], factory: type[Any], fields: tuple[FieldSpec, ...], version: int
) -> Structure:
    spec: MessageSpec = message.__spec__
    members: dict[str, WireFormat] = {}
    tagged: list[TaggedField] = []
    absent: list[AbsentField] = []
    for field in fields:
        if version not in field.versions:
            absent.append(AbsentField(field.name, _default(message, field), field.ignorable))
        elif version in field.tagged:
            assert field.tag is not None, "the spec reader gives every tagged field a tag"
            format_ = _format(message, field, version)
            tagged.append(TaggedField(field.tag, field.name, format_, _default(message, field)))
        else:
            members[field.name] = _format(message, field, version)
    tags = TaggedFields(tuple(tagged)) if version in spec.flexible else None
    return Structure(factory, members, tags, tuple(absent))


def _default(message: type[Any], field: FieldSpec) -> Any:
    """A value that equals the field's default."""
    if field.default != ():
        return field.default
    return [] if field.is_array else getattr(message, field.type)()


def _format(message: type[Any], field: FieldSpec, version: int) -> WireFormat:
    spec: MessageSpec = message.__spec__
    compact = version in (spec.flexible if field.flexible is None else field.flexible)
    nullable = version in field.nullable
    if field.is_array:
        element = _single(message, field.type, version, compact=compact, nullable=False)
        return Vector(element, compact=compact, nullable=nullable)
    format_ = _single(message, field.type, version, compact=compact, nullable=nullable)
    if isinstance(format_, Structure) and nullable:
        return NullableStructure(format_, tagged=version in field.tagged)
    return format_


def _single(message: type[Any], type_: str, version: int, *, compact: bool, nullable: bool) -> WireFormat:
    """One value, or one element of an array."""
    if type_ in FIXED:
        return FIXED[type_]
    if type_ == "string":
        return Text(compact=compact, nullable=nullable)
    if type_ == "bytes":
        return Blob(compact=compact, nullable=nullable)
    if type_ == "records":
        return Records(compact=compact, nullable=nullable)
    struct = message.__spec__.structs[type_]
    return _structure(message, getattr(message, type_), struct.fields, version)
