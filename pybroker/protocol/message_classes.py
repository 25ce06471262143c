"""Makes the classes of :mod:`pybroker.protocol.messages` from specs."""

from typing import Any, ClassVar

from pybroker.protocol.specs import FieldSpec, MessageSpec


class Message:
    """What all messages and their structures share. Two are equal when their classes and all fields are."""

    __slots__: tuple[str, ...] = ()
    __spec__: ClassVar[MessageSpec]
    """The spec of the message; structures inside a message have that of the message."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__qualname__}({fields})"


def make_class(spec: MessageSpec) -> type[Message]:
    """The class of a message, with the classes of its structures as attributes.

    The constructors take keywords only. A list or structure that is not given is a new one, never shared.
    """
    structs: dict[str, Any] = {"new": object()}
    for struct in spec.structs.values():
        qualified = f"{spec.name}.{struct.name}"
        structs[struct.name] = _make(struct.name, qualified, spec, struct.fields, structs, {})
    inner = {name: structs[name] for name in spec.structs}
    return _make(spec.name, spec.name, spec, spec.fields, structs, inner)


def _make(
    name: str,
    qualified: str,
    spec: MessageSpec,
    fields: tuple[FieldSpec, ...],
    structs: dict[str, Any],
    attributes: dict[str, Any],
) -> type[Message]:
    """One class. ``structs`` are the globals of its constructor, where it finds the classes beside it."""
    source = _constructor(fields)
    locals_: dict[str, Any] = {}
    exec(compile(source, f"<constructor of {qualified}>", "exec"), structs, locals_)
    members = {
        "__slots__": tuple(field.name for field in fields),
        "__init__": locals_["__init__"],
        "__qualname__": qualified,
        "__module__": "pybroker.protocol.messages",
        "__spec__": spec,
        **attributes,
    }
    return type(name, (Message,), members)


def _constructor(fields: tuple[FieldSpec, ...]) -> str:
    """The source of ``__init__``. ``new`` as a default stands for a new list or structure."""
    parameters, lines = [], []
    for field in fields:
        if field.default == ():
            made = "[]" if field.is_array else f"{field.type}()"
            parameters.append(f"{field.name}=new")
            lines.append(f" self.{field.name} = {made} if {field.name} is new else {field.name}\n")
        else:
            parameters.append(f"{field.name}={field.default!r}")
            lines.append(f" self.{field.name} = {field.name}\n")
    if not fields:
        return "def __init__(self): pass\n"
    return f"def __init__(self, *, {', '.join(parameters)}):\n{''.join(lines)}"
