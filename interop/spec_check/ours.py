"""Our specs as Definitions."""

from collections.abc import Iterator, Sequence

from interop.spec_check.view import Definition, Flags, Row, in_wire_order
from pybroker.protocol.spec_model import FieldSpec, MessageSpec


def definition(message: MessageSpec) -> Definition:
    """The view of one of our messages."""
    flags: dict[str, Flags] = {}
    rows = {
        version: in_wire_order(_rows(message, message.fields, version, "", flags))
        for version in message.versions
    }
    return Definition(message.name, tuple(message.versions), frozenset(message.flexible), rows, flags)


def _rows(
    message: MessageSpec, fields: Sequence[FieldSpec], version: int, prefix: str, flags: dict[str, Flags]
) -> Iterator[tuple[Row, Sequence[Row]]]:
    for spec in fields:
        path = prefix + spec.name
        flags[path] = Flags(spec.ignorable, spec.map_key)
        if version not in spec.versions:
            continue
        below: Sequence[Row] = ()
        if spec.is_struct:
            below = in_wire_order(
                _rows(message, message.structs[spec.type].fields, version, f"{path}.", flags)
            )
        flexible = message.flexible if spec.flexible is None else spec.flexible
        row = Row(
            path=path,
            type=("[]" if spec.is_array else "") + spec.type,
            nullable=version in spec.nullable,
            tag=spec.tag if version in spec.tagged else None,
            default=spec.default,
            compact=version in flexible,
        )
        yield row, below
