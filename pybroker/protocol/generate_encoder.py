"""Turns the tree of one message version into one straight-line encoding function.

Neighbouring fixed-size fields, with the one-byte length of a short string or array after them, become one
``pack``. The pieces are collected in a list and joined once. Records are not joined when they are large or no
bytes at all: they stay pieces of their own, for ``writev`` and ``sendfile``.

The generated function gives the same bytes as the tree's own ``build``.
"""

from typing import Any

from pybroker.protocol.primitives import (
    MAX_TEXT_BYTES,
    AbsentField,
    Fixed,
    NullableStructure,
    Prefixed,
    Records,
    Structure,
    TaggedField,
    TaggedFields,
    Text,
    Vector,
    WireFormat,
)
from pybroker.protocol.source import SourceWriter, walk

SMALL_ARRAYS = 9
OWN_PART_BYTES = 4096
"""Records of this size or more are a part of their own; less is cheaper to copy than to send alone."""


def encoder_source(structure: Structure, title: str) -> str:
    """The source of ``encode(message) -> bytes`` and ``encode_parts(message) -> parts``.

    They raise UnsupportedVersion and UnencodableMessage; ``title`` names message and version in errors.
    """
    return _EncoderWriter(structure, title).finish()


class _EncoderWriter:
    """Writes the body of one encoder. ``pending`` is the run of fixed-size fields not yet packed."""

    def __init__(self, structure: Structure, title: str) -> None:
        self.out = SourceWriter()
        self.title = title
        self.pending: list[tuple[str, str]] = []
        self.pieces = "pieces"
        self.has_records = any(isinstance(node, Records) for node in walk(structure))
        self.out.line("def encode_pieces(message):")
        with self.out.indented():
            self.out.line("pieces = []")
            if self.has_records:
                self.out.line("own = []")
            self.structure(structure, "message", "")
            self.flush()
            self.out.line("return pieces, own" if self.has_records else "return pieces")

    def finish(self) -> str:
        failure = f"raise Unencodable(f'{self.title}: {{error}}') from error"
        for name, answer in (
            ("encode", "join(pieces)"),
            ("encode_parts", "in_parts(pieces, own)" if self.has_records else "[join(pieces)]"),
        ):
            self.out.line(f"def {name}(message):")
            self.out.line("    try:")
            self.out.line(f"        pieces{', own' if self.has_records else ''} = encode_pieces(message)")
            self.out.line(f"        return {answer}")
            self.out.line(f"    except UNWRITABLE as error: {failure}")
        return self.out.text()

    def refuse(self, path: str, why: str) -> str:
        """A statement that raises with a constant message."""
        return f"raise Unencodable({f'{self.title}{path}: {why}'!r})"

    # runs of fixed-size fields

    def queue(self, format_: str, expression: str = "") -> None:
        """Add a value to the run; the format ``x`` is a zero byte and has none."""
        self.pending.append((format_, expression))

    def packed(self, run: list[tuple[str, str]]) -> str:
        """An expression for the bytes of a run."""
        formats = "".join(format_ for format_, _ in run)
        values = [expression for _, expression in run if expression]
        if not values:
            return repr(bytes(len(formats)))
        name = self.out.prepared(f"pack_{formats.replace('?', 'bool')}", f"Struct('>{formats}').pack")
        return f"{name}({', '.join(values)})"

    def flush(self) -> None:
        if self.pending:
            self.out.line(f"{self.pieces}.append({self.packed(self.pending)})")
            self.pending.clear()

    def flush_with_length(self, node: Prefixed, length: str, path: str) -> None:
        """Pack the run and the prefix after it. ``length`` is a local: the length, plus one when compact."""
        if not node.compact:
            self.queue(node.prefix.format, length)
            self.flush()
            return
        short = self.packed([*self.pending, ("B", length)]) if self.pending else f"ONE_BYTE[{length}]"
        self.out.line(f"if {length} < 128: {self.pieces}.append({short})")
        self.out.line("else:")
        with self.out.indented():
            if isinstance(node, Text):
                refusal = self.refuse(path, "string too long")
                self.out.line(f"if {length} > {MAX_TEXT_BYTES + 1}: {refusal}")
            self.flush()
            self.out.line(f"{self.pieces}.append(uvarint({length}))")
        self.pending.clear()

    # values

    def value(self, node: WireFormat, expression: str, path: str) -> None:
        """Write the value of an expression, which is a local or an attribute."""
        if isinstance(node, Fixed):
            if node.format == "16s":
                self.out.line(f"if len({expression}) != 16: {self.refuse(path, 'a uuid has 16 bytes')}")
            self.queue(node.format, expression)
        elif isinstance(node, Prefixed):
            self.prefixed(node, expression, path)
        elif isinstance(node, NullableStructure):
            self.nullable_structure(node, expression, path)
        elif isinstance(node, Structure):
            local = self.out.local("o")
            self.out.line(f"{local} = {expression}")
            self.structure(node, local, path)
        else:
            raise NotImplementedError(f"no code for {node!r}")

    def prefixed(self, node: Prefixed, expression: str, path: str) -> None:
        """A string, bytes or array, or null if it may be."""
        local = self.out.local("v")
        self.out.line(f"{local} = {expression}")
        if not node.nullable:
            self.present(node, local, path)
            return
        run = list(self.pending)
        self.out.line(f"if {local} is None:")
        with self.out.indented():
            if node.compact:
                self.queue("x")
            else:
                self.queue(node.prefix.format, "-1")
            self.flush()
        self.pending = run
        self.out.line("else:")
        with self.out.indented():
            self.present(node, local, path)
            self.flush()

    def present(self, node: Prefixed, local: str, path: str) -> None:
        """A value that is not null."""
        if isinstance(node, Text):
            self.text(node, local, path)
        elif isinstance(node, Vector):
            self.vector(node, local, path)
        else:
            self.blob(node, local, path)

    def text(self, node: Text, local: str, path: str) -> None:
        size = self.out.local("n")
        self.out.line(f"{local} = {local}.encode()")
        self.out.line(f"{size} = len({local}){' + 1' if node.compact else ''}")
        self.flush_with_length(node, size, path)
        self.out.line(f"{self.pieces}.append({local})")

    def blob(self, node: Prefixed, local: str, path: str) -> None:
        size = self.out.local("n")
        self.out.line(f"{size} = len({local}){' + 1' if node.compact else ''}")
        self.flush_with_length(node, size, path)
        if isinstance(node, Records):
            if self.pieces != "pieces":
                raise NotImplementedError("records in a tagged field")
            self.out.line(
                f"if {size} >= {OWN_PART_BYTES} or type({local}) not in JOINABLE: own.append(len(pieces))"
            )
        self.out.line(f"{self.pieces}.append({local})")

    def vector(self, node: Vector, local: str, path: str) -> None:
        count = self.out.local("n")
        element = node.element
        if isinstance(element, Fixed) and element.format != "16s":
            self.flush()
            self.numbers(node, element.format, local, count)
            return
        self.out.line(f"{count} = len({local}){' + 1' if node.compact else ''}")
        self.flush_with_length(node, count, path)
        item = self.out.local("o")
        self.out.line(f"for {item} in {local}:")
        with self.out.indented():
            if isinstance(element, Structure):
                self.structure(element, item, path)
            else:
                self.value(element, item, path)
            self.flush()

    def numbers(self, node: Vector, format_: str, local: str, count: str) -> None:
        """An array of numbers in one ``pack`` with its count."""
        prefix, plus = ("B", " + 1") if node.compact else ("i", "")
        table = self.out.prepared(
            f"pack_{prefix}_up_to_{SMALL_ARRAYS}{format_.replace('?', 'bool')}",
            f"tuple(Struct(f'>{prefix}{{n}}{format_}').pack for n in range({SMALL_ARRAYS}))",
        )
        self.out.line(f"{count} = len({local})")
        self.out.line(
            f"if {count} < {SMALL_ARRAYS}: {self.pieces}.append({table}[{count}]({count}{plus}, *{local}))"
        )
        self.out.line("else:")
        with self.out.indented():
            length = f"uvarint({count} + 1)" if node.compact else f"pack('>i', {count})"
            self.out.line(f"{self.pieces}.append({length})")
            self.out.line(f"{self.pieces}.append(pack(f'>{{{count}}}{format_}', *{local}))")

    # structures

    def structure(self, node: Structure, local: str, path: str) -> None:
        for field in node.absent:
            if not field.ignorable:
                self.check_absent(field, local, path)
        for name, member in node.members.items():
            self.value(member, f"{local}.{name}", f"{path}.{name}")
        if node.tagged is not None:
            self.tagged_fields(node.tagged, local, path)

    def check_absent(self, field: AbsentField, local: str, path: str) -> None:
        text = f"{self.title}{path}.{field.name} cannot be sent in this version"
        differs = self.differs(f"{local}.{field.name}", field.default, nullable=True)
        self.out.line(f"if {differs}: raise Unsupported({text!r})")

    def differs(self, expression: str, default: Any, *, nullable: bool) -> str:
        """A condition: the value is not its default. Structures are compared field by field, in place."""
        if default is None:
            return f"{expression} is not None"
        if default is False:
            return expression
        if isinstance(default, list):
            return f"{expression} != []"
        if isinstance(default, bytes | str | int | float):
            return f"{expression} != {self.out.fresh(default)}"
        parts = [f"{expression} is None"] if nullable else []
        parts += [
            self.differs(f"{expression}.{name}", getattr(default, name), nullable=True)
            for name in type(default).__slots__
        ]
        return f"({' or '.join(parts)})"

    def nullable_structure(self, node: NullableStructure, expression: str, path: str) -> None:
        local = self.out.local("o")
        self.out.line(f"{local} = {expression}")
        run = list(self.pending)
        self.out.line(f"if {local} is None:")
        with self.out.indented():
            self.queue("b", "0" if node.tagged else "-1")
            self.flush()
        self.pending = [*run, ("b", "1")]
        self.out.line("else:")
        with self.out.indented():
            self.structure(node.structure, local, path)
            self.flush()

    def tagged_fields(self, node: TaggedFields, local: str, path: str) -> None:
        if not node.fields:
            self.queue("x")
            return
        flags = [self.tagged_flag(field, local) for field in node.fields]
        self.out.line(f"if {' or '.join(flags)}:")
        run = list(self.pending)
        with self.out.indented():
            total = self.out.local("n")
            self.out.line(f"{total} = {' + '.join(flags)}")
            self.flush()
            self.out.line(f"{self.pieces}.append(uvarint({total}))")
            outer, self.pieces = self.pieces, self.out.local("tagged")
            for flag, field in zip(flags, node.fields, strict=True):
                self.out.line(f"if {flag}:")
                with self.out.indented():
                    self.out.line(f"{self.pieces} = []")
                    self.value(field.format, f"{local}.{field.name}", f"{path}.{field.name}")
                    self.flush()
                    self.out.line(f"{outer}.append(tagged_field({field.tag}, {self.pieces}))")
            self.pieces = outer
        self.pending = [*run, ("x", "")]
        self.out.line("else:")
        with self.out.indented():
            self.flush()

    def tagged_flag(self, field: TaggedField, local: str) -> str:
        """A local that tells whether the field differs from its default."""
        flag = self.out.local("is_set")
        nullable = isinstance(field.format, NullableStructure)
        differs = self.differs(f"{local}.{field.name}", field.default, nullable=nullable)
        self.out.line(f"{flag} = bool({differs})")
        return flag
