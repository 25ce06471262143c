"""Turns the tree of one message version into one straight-line decoding function.

Neighbouring fixed-size fields, with the first byte or the prefix of whatever follows them, become one
``unpack`` into locals and attributes. Strings are sliced without a bounds check of their own: slicing past
the end is harmless, the position only grows, and one comparison at the end of the message refuses what ran
over. Counts are checked before their loop, because a loop is work.

The generated function agrees with the tree's own ``parse`` on every input: both give the same value and read
the same number of bytes, or both refuse.
"""

from struct import Struct

from pybroker.protocol.primitives import (
    MAX_TEXT_BYTES,
    Blob,
    Fixed,
    NullableStructure,
    Prefixed,
    Structure,
    TaggedFields,
    Text,
    Vector,
    WireFormat,
)
from pybroker.protocol.source import SourceWriter, walk

SMALL_ARRAYS = 9
"""Arrays of numbers shorter than this have their own prepared ``unpack``."""

MIN_BATCH = 4
"""From this many fixed-size structures on, ``iter_unpack`` pays for its set-up."""


def decoder_source(structure: Structure, title: str, *, whole: bool) -> str:
    """The source of ``decode(buffer, position=0) -> (message, end position)``; it raises MalformedMessage.

    Args:
        title: names the message and version in errors.
        whole: the message takes the rest of its buffer, so that the buffer may be copied to ``bytes``, which
            are cut into strings at half the price.
    """
    copies = whole and not any(isinstance(node, Blob) for node in walk(structure))
    return _DecoderWriter(structure, title, copies=copies).out.text()


class _DecoderWriter:
    """Writes the body of one decoder. ``pending`` is the run of fixed-size fields not yet unpacked."""

    def __init__(self, structure: Structure, title: str, *, copies: bool) -> None:
        self.out = SourceWriter()
        self.title = title
        self.pending: list[tuple[str, str]] = []
        self.copies = copies
        self.out.line("def decode(data, pos=0):")
        with self.out.indented():
            self.prologue()
            self.out.line("try:")
            with self.out.indented():
                self.structure(structure, "message", "")
                self.flush()
            self.epilogue()

    def prologue(self) -> None:
        wanted = "bytes" if self.copies else "memoryview"
        self.out.line(f"if type(data) is not {wanted}: data = {wanted}(data)")
        self.out.line("end = len(data)")

    def epilogue(self) -> None:
        self.out.line("except UNREADABLE as error:")
        self.out.line(f"    raise Malformed(f'{self.title}: {{error}}') from error")
        self.out.line("if pos > end:")
        self.out.line(f"    raise Malformed('{self.title}: cut short')")
        self.out.line("return message, pos")

    def refuse(self, path: str, why: str) -> str:
        """A statement that raises with a constant message."""
        return f"raise Malformed({f'{self.title}{path}: {why}'!r})"

    # runs of fixed-size fields

    def queue(self, format_: str, target: str) -> None:
        self.pending.append((format_, target))

    def flush(self) -> None:
        """Unpack the run so far and move the position behind it."""
        if not self.pending:
            return
        formats = "".join(format_ for format_, _ in self.pending)
        targets = ", ".join(target for _, target in self.pending)
        self.pending.clear()
        packer = Struct(">" + formats)
        if formats == "B":
            self.out.line(f"{targets} = data[pos]; pos += 1")
            return
        name = self.out.prepared(
            f"unpack_{formats.replace('?', 'bool')}", f"Struct({packer.format!r}).unpack_from"
        )
        comma = "," if len(formats.replace("16s", "s")) == 1 else ""
        self.out.line(f"{targets}{comma} = {name}(data, pos); pos += {packer.size}")

    # values

    def value(self, node: WireFormat, target: str, path: str) -> None:
        """Read one value into ``target``, which may be a local or an attribute."""
        if isinstance(node, Fixed):
            self.queue(node.format, target)
        elif isinstance(node, Text):
            self.text(node, target, path)
        elif isinstance(node, Blob):
            self.blob(node, target, path)
        elif isinstance(node, Vector):
            self.vector(node, target, path)
        elif isinstance(node, NullableStructure):
            self.nullable_structure(node, target, path)
        elif isinstance(node, Structure):
            local = self.out.local("o")
            self.structure(node, local, path)
            self.flush()
            self.out.line(f"{target} = {local}")
        else:
            raise NotImplementedError(f"no code for {node!r}")

    def length(self, node: Prefixed, path: str) -> str:
        """Read the prefix of a value into a local: length + 1 when compact, else the length."""
        local = self.out.local("n")
        self.queue("B" if node.compact else node.prefix.format, local)
        self.flush()
        if node.compact:
            self.out.line(f"if {local} > 127:")
            with self.out.indented():
                self.out.line(f"{local}, pos = long_uvarint(data, pos, {local})")
                if isinstance(node, Text):
                    refusal = self.refuse(path, "string too long")
                    self.out.line(f"if {local} > {MAX_TEXT_BYTES + 1}: {refusal}")
        return local

    def null(self, node: Prefixed, target: str, path: str) -> None:
        """The branch of a null value."""
        if node.nullable:
            self.out.line(f"else: {target} = None")
        else:
            self.out.line(f"else: {self.refuse(path, 'null is not allowed')}")

    def text(self, node: Text, target: str, path: str) -> None:
        size = self.length(node, path)
        slice_ = f"data[pos:(pos := pos + {size}{' - 1' if node.compact else ''})]"
        decoded = f"{slice_}.decode()" if self.copies else f"str({slice_}, 'utf-8')"
        if node.compact:
            self.out.line(f"if {size}: {target} = {decoded}")
        else:
            self.out.line(f"if {size} >= 0: {target} = {decoded}")
        self.null(node, target, path)

    def blob(self, node: Blob, target: str, path: str) -> None:
        size = self.length(node, path)
        if node.compact:
            self.out.line(f"if {size}: {target} = data[pos:(pos := pos + {size} - 1)]")
        else:
            self.out.line(f"if {size} >= 0: {target} = data[pos:(pos := pos + {size})]")
        self.null(node, target, path)

    def vector(self, node: Vector, target: str, path: str) -> None:
        count = self.length(node, path)
        self.out.line(f"if {count} > {1 if node.compact else 0}:")
        with self.out.indented():
            if node.compact:
                self.out.line(f"{count} -= 1")
            size = node.element.min_bytes
            total = count if size == 1 else f"{count} * {size}"
            self.out.line(f"if {total} > end - pos: {self.refuse(path, 'more elements than bytes')}")
            if isinstance(node.element, Fixed) and node.element.format != "16s":
                self.numbers(node.element, count, target)
            else:
                self.elements(node.element, count, target, path)
        self.out.line(f"elif {count}{'' if node.compact else ' == 0'}: {target} = []")
        self.null(node, target, path)

    def numbers(self, element: Fixed, count: str, target: str) -> None:
        table = self.out.prepared(
            f"unpack_up_to_{SMALL_ARRAYS}{element.format.replace('?', 'bool')}",
            f"tuple(Struct(f'>{{n}}{element.format}').unpack_from for n in range({SMALL_ARRAYS}))",
        )
        self.out.line(f"if {count} < {SMALL_ARRAYS}: {target} = [*{table}[{count}](data, pos)]")
        self.out.line(f"else: {target} = [*unpack_from(f'>{{{count}}}{element.format}', data, pos)]")
        self.out.line(f"pos += {count} * {element.packer.size}")

    def elements(self, element: WireFormat, count: str, target: str, path: str) -> None:
        items = self.out.local("items")
        self.out.line(f"{target} = {items} = []")
        remaining = count
        if isinstance(element, Structure) and _is_flat(element):
            self.batch(element, items, count)
            remaining = f"{count} - len({items})"
        self.out.line(f"for _ in range({remaining}):")
        with self.out.indented():
            item = self.out.local("o")
            if isinstance(element, Structure):
                self.structure(element, item, path)
            else:
                self.value(element, item, path)
            self.flush()
            self.out.line(f"{items}.append({item})")

    def batch(self, element: Structure, items: str, count: str) -> None:
        """Read fixed-size structures with ``iter_unpack`` up to the first that has a tagged field."""
        formats = "".join(member.format for member in element.members.values() if isinstance(member, Fixed))
        names = list(element.members)
        tags = element.tagged is not None
        packer = Struct(">" + formats + ("B" if tags else ""))
        item = self.out.local("o")
        values = [self.out.local("v") for _ in names]
        iterate = self.out.prepared(
            f"iterate_{formats.replace('?', 'bool')}{'B' if tags else ''}",
            f"Struct({packer.format!r}).iter_unpack",
        )
        stop = f"pos + {count} * {packer.size}"
        unpacked = ", ".join([*values, *(["tags"] if tags else [])])
        self.out.line(f"if {count} >= {MIN_BATCH} and {stop} <= end:")
        with self.out.indented():
            self.out.line(
                f"for {unpacked}{',' if len(values) + tags == 1 else ''} in {iterate}(data[pos:{stop}]):"
            )
            with self.out.indented():
                if tags:
                    self.out.line("if tags: break")
                self.create(element, item)
                for name, value in zip(names, values, strict=True):
                    self.out.line(f"{item}.{name} = {value}")
                self.out.line(f"{items}.append({item})")
            self.out.line(f"pos += len({items}) * {packer.size}")

    # structures

    def create(self, node: Structure, local: str) -> None:
        """Make an instance whose fields outside the fixed part of the wire hold their defaults."""
        self.out.line(f"{local} = new({self.out.factory(node.factory)})")
        defaults = [(field.name, field.default) for field in node.absent]
        if node.tagged is not None:
            defaults += [(field.name, field.default) for field in node.tagged.fields]
        same: dict[str, list[str]] = {}
        for name, default in defaults:
            same.setdefault(self.out.fresh(default), []).append(f"{local}.{name}")
        for expression, targets in same.items():
            if expression.isidentifier() or not expression.endswith((")", "]")):
                self.out.line(" = ".join([*targets, expression]))
            else:
                for target in targets:
                    self.out.line(f"{target} = {expression}")

    def structure(self, node: Structure, local: str, path: str) -> None:
        """Read a structure into a new instance in ``local``. The run before it goes on into its fields."""
        self.create(node, local)
        for name, member in node.members.items():
            self.value(member, f"{local}.{name}", f"{path}.{name}")
        if node.tagged is not None:
            self.tagged_fields(node.tagged, local, path)

    def nullable_structure(self, node: NullableStructure, target: str, path: str) -> None:
        marker = self.out.local("n")
        self.queue("B" if node.tagged else "b", marker)
        self.flush()
        if node.tagged:
            self.out.line(f"if {marker} > 127: {marker}, pos = long_uvarint(data, pos, {marker})")
        self.out.line(f"if {marker} {'>' if node.tagged else '>='} 0:")
        with self.out.indented():
            local = self.out.local("o")
            self.structure(node.structure, local, path)
            self.flush()
            self.out.line(f"{target} = {local}")
        self.out.line(f"else: {target} = None")

    def tagged_fields(self, node: TaggedFields, local: str, path: str) -> None:
        count = self.out.local("n")
        self.queue("B", count)
        self.flush()
        if not node.fields:
            self.out.line(f"if {count}: pos = skip_tagged_fields(data, pos, end, {count})")
            return
        self.out.line(f"if {count}:")
        with self.out.indented():
            self.out.line(f"if {count} > 127: {count}, pos = long_uvarint(data, pos, {count})")
            self.out.line(f"if {count} * 2 > end - pos: {self.refuse(path, 'more tagged fields than bytes')}")
            tag, stop = self.out.local("tag"), self.out.local("stop")
            self.out.line(f"for _ in range({count}):")
            with self.out.indented():
                self.out.line(f"{tag}, pos = uvarint_at(data, pos)")
                self.out.line(f"{stop}, pos = uvarint_at(data, pos); {stop} += pos")
                self.out.line(f"if {stop} > end: {self.refuse(path, 'a tagged field runs over the end')}")
                for index, field in enumerate(node.fields):
                    self.out.line(f"{'elif' if index else 'if'} {tag} == {field.tag}:")
                    with self.out.indented():
                        self.value(field.format, f"{local}.{field.name}", f"{path}.{field.name}")
                        self.flush()
                        wrong = self.refuse(f"{path}.{field.name}", "not as long as announced")
                        self.out.line(f"if pos != {stop}: {wrong}")
                self.out.line(f"else: pos = {stop}")


def _is_flat(structure: Structure) -> bool:
    """Whether all members are numbers or uuids."""
    return bool(structure.members) and all(isinstance(member, Fixed) for member in structure.members.values())
