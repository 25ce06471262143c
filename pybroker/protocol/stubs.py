"""Writes ``messages.pyi``, the fields of every message for type checkers.

Run it with ``python -m pybroker.protocol.stubs`` whenever a spec has changed.
"""

import sys
from pathlib import Path
from typing import Final

from pybroker.protocol.specs import FieldSpec, MessageSpec, all_messages

TARGET: Final = Path(__file__).with_name("messages.pyi")

HEAD: Final = '''\
"""Written by ``python -m pybroker.protocol.stubs`` from the specs; do not edit.

``bytes`` and ``records`` fields are read as memoryview, because decoding gives slices of its input. They can
be set to more: to any bytes, and records to any object with a length that the transport can send.
"""

# ruff: noqa: A002

from collections.abc import Sized

from pybroker.protocol.message_classes import Message as Message

_Bytes = bytes | bytearray | memoryview
'''

PYTHON_TYPES: Final = {
    "bool": "bool",
    "float64": "float",
    "uuid": "bytes",
    "string": "str",
    "bytes": "memoryview",
    "records": "memoryview",
}
LINE_LENGTH: Final = 110
SETTABLE: Final = {"bytes": "_Bytes", "records": "Sized"}


def stub_text() -> str:
    """The whole text of ``messages.pyi``."""
    parts = [HEAD]
    for name, message in sorted(all_messages().items()):
        parts += ["\n", *_class(name, message, message.fields, "")]
    return "".join(parts)


def _class(name: str, message: MessageSpec, fields: tuple[FieldSpec, ...], indent: str) -> list[str]:
    lines = [f"{indent}class {name}(Message):\n"]
    if not indent:
        for struct in message.structs.values():
            lines += [*_class(struct.name, message, struct.fields, "    "), "\n"]
    parameters = [_parameter(message, field, indent + "        ") for field in fields]
    for field in fields:
        lines += _attribute(message, field, indent + "    ")
    if parameters:
        lines += [f"{indent}    def __init__(\n{indent}        self,\n{indent}        *,\n", *parameters]
        lines.append(f"{indent}    ) -> None: ...\n")
    else:
        lines.append(f"{indent}    def __init__(self) -> None: ...\n")
    return lines


def _parameter(message: MessageSpec, field: FieldSpec, indent: str) -> str:
    """A parameter of the constructor, broken as the formatter does when it is too long."""
    type_ = _type(message, field, SETTABLE)
    line = f"{indent}{field.name}: {type_} = ...,\n"
    if len(line) <= LINE_LENGTH + 1:
        return line
    inner = type_.removeprefix("list[").partition("]")
    return f"{indent}{field.name}: list[\n{indent}    {inner[0]}\n{indent}]{inner[2]} = ...,\n"


def _attribute(message: MessageSpec, field: FieldSpec, indent: str) -> list[str]:
    if field.type not in SETTABLE or field.is_array:
        return [f"{indent}{field.name}: {_type(message, field, {})}\n"]
    return [
        f"{indent}@property\n",
        f"{indent}def {field.name}(self) -> {_type(message, field, {})}: ...\n",
        f"{indent}@{field.name}.setter\n",
        f"{indent}def {field.name}(self, value: {_type(message, field, SETTABLE)}) -> None: ...\n",
    ]


def _type(message: MessageSpec, field: FieldSpec, others: dict[str, str]) -> str:
    """The annotation of a field; ``others`` has the types that may be set where those are more."""
    if field.is_struct:
        single = f"{message.name}.{field.type}"
    else:
        single = others.get(field.type) or PYTHON_TYPES.get(field.type, "int")
    if field.is_array:
        single = f"list[{single}]"
    return f"{single} | None" if field.nullable or field.default is None else single


def main() -> None:
    TARGET.write_text(stub_text(), encoding="utf-8")
    sys.stdout.write(f"{TARGET}\n")


if __name__ == "__main__":
    main()
