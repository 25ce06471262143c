"""The grammar of a spec file: TOML text in, the frozen values of ``spec_model`` out.

The format is described in ``protocol_specs/README.md``. Whatever breaks it raises SpecError with a text that
names the file, the message and the field.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from pybroker.protocol import kept
from pybroker.protocol.spec_model import (
    FILE_NAME,
    INTEGER_BOUNDS,
    NO_VERSIONS,
    PRIMITIVES,
    ApiDefinition,
    Default,
    FieldSpec,
    MessageSpec,
    SpecError,
    SpecFile,
    StructSpec,
    VersionRange,
    snake_case,
)

_NULLABLE_PRIMITIVES: Final = frozenset({"string", "bytes", "records"})
_DEFAULTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(INTEGER_BOUNDS, 0),
    "bool": False,
    "float64": 0.0,
    "uuid": bytes(16),
    "string": "",
    "bytes": b"",
    "records": None,
}

_FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_TYPE: Final = re.compile(r"(\[\])?([A-Za-z][A-Za-z0-9]*)(\?)?")
_VERSIONS: Final = re.compile(r"(\d+)(?:(\+)|-(\d+))?")
_TOKEN: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')


def parse_file(stem: str, text: str) -> SpecFile:
    """Parse the text of one spec file. Raises SpecError, naming the place, for everything that is wrong."""
    where = f"{stem}.toml"
    data = kept.load(stem, text)
    if data is None:
        data = _tables(text, where)
        kept.keep(stem, text, data)
    _only_keys(data, {"api", "name", "messages"}, where)
    tables = data.get("messages")
    if not isinstance(tables, dict) or not tables:
        raise SpecError(f"{where}: no [messages.…] table")
    messages = {name: _parse_message(name, table, where) for name, table in tables.items()}
    return SpecFile(stem, _parse_api(stem, data, messages, where), messages)


def _tables(text: str, where: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not TOML: {error}") from None


def _parse_api(
    stem: str, data: Mapping[str, Any], messages: Mapping[str, MessageSpec], where: str
) -> ApiDefinition | None:
    match = FILE_NAME.fullmatch(stem)
    if match is None:
        if "api" in data or "name" in data:
            raise SpecError(f"{where}: a file with an api is named <two digits of the key>_<name>.toml")
        return None
    key, name = data.get("api"), data.get("name")
    if not isinstance(name, str) or key != int(match[1]) or snake_case(name) != match[2]:
        raise SpecError(f"{where}: api = {key!r} and name = {name!r} do not match the file name")
    if set(messages) != {f"{name}Request", f"{name}Response"}:
        raise SpecError(f"{where}: holds {list(messages)} and not {name}Request and {name}Response")
    request, response = messages[f"{name}Request"], messages[f"{name}Response"]
    if request.versions != response.versions:
        raise SpecError(f"{where}: request versions {request.versions}, response {response.versions}")
    return ApiDefinition(key, name, request, response)


def _parse_message(name: str, table: Any, where: str) -> MessageSpec:
    where = f"{where}: {name}"
    _only_keys(table, {"versions", "flexible", "fields", "structs"}, where)
    versions = _parse_versions(table.get("versions"), None, where)
    if table.get("flexible") == "none":
        flexible = NO_VERSIONS
    else:
        flexible = _parse_versions(table.get("flexible"), versions, f"{where}: flexible")
    if flexible and flexible.last != versions.last:
        raise SpecError(f"{where}: flexible versions end before the last version")
    tables = table.get("structs", {})
    for struct, contents in tables.items():
        _only_keys(contents, {"fields"}, f"{where}.{struct}")
    fields = _parse_fields(table.get("fields"), versions, flexible, where)
    structs = {
        struct: StructSpec(
            struct, _parse_fields(contents.get("fields"), versions, flexible, f"{where}.{struct}")
        )
        for struct, contents in tables.items()
    }
    _check_struct_names(fields, structs, where)
    return MessageSpec(name, versions, flexible, fields, structs)


def _check_struct_names(fields: tuple[FieldSpec, ...], structs: Mapping[str, StructSpec], where: str) -> None:
    """Every struct is defined and used, and none contains itself (nesting is bounded by the spec)."""
    used: set[str] = set()

    def visit(members: tuple[FieldSpec, ...], path: tuple[str, ...]) -> None:
        for field in members:
            if not field.is_struct:
                continue
            place = ".".join((where, *path))
            if field.type not in structs:
                raise SpecError(f"{place}: field {field.name!r}: unknown type {field.type!r}")
            if field.type in path:
                raise SpecError(f"{place}: field {field.name!r}: struct {field.type} contains itself")
            used.add(field.type)
            visit(structs[field.type].fields, (*path, field.type))

    visit(fields, ())
    unused = sorted(set(structs) - used)
    if unused:
        raise SpecError(f"{where}: struct {unused[0]} is not used")


def _parse_fields(
    texts: Any, versions: VersionRange, flexible: VersionRange, where: str
) -> tuple[FieldSpec, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SpecError(f"{where}: fields must be a list of strings")
    fields = tuple(_parse_field(text, versions, flexible, where) for text in texts)
    names: set[str] = set()
    tags: dict[int, str] = {}
    for field in fields:
        if field.name in names:
            raise SpecError(f"{where}: field {field.name!r} appears twice")
        names.add(field.name)
        if field.tag is not None and tags.setdefault(field.tag, field.name) != field.name:
            raise SpecError(f"{where}: field {field.name!r}: tag {field.tag} belongs to {tags[field.tag]!r}")
    return fields


def _parse_field(
    text: str, message_versions: VersionRange, message_flexible: VersionRange, where: str
) -> FieldSpec:
    tokens = _TOKEN.findall(text)
    where = f"{where}: field {tokens[0] if tokens else text!r}"
    if len(tokens) < 3:
        raise SpecError(f"{where}: expected 'name type versions [attribute…]', not {text!r}")
    if not _FIELD_NAME.fullmatch(tokens[0]):
        raise SpecError(f"{where}: a field name is snake_case")
    type_match = _TYPE.fullmatch(tokens[1])
    if type_match is None:
        raise SpecError(f"{where}: unreadable type {tokens[1]!r}")
    is_array, base = type_match[1] is not None, type_match[2]
    if base not in PRIMITIVES and not base[0].isupper():
        raise SpecError(f"{where}: unknown type {base!r}")
    versions = _parse_versions(tokens[2], message_versions, where)
    attributes = _parse_attributes(tokens[3:], where)
    nullable = versions if type_match[3] else NO_VERSIONS
    if "nullable" in attributes:
        if nullable:
            raise SpecError(f"{where}: both '?' and nullable=")
        nullable = _parse_versions(attributes["nullable"], versions, f"{where}: nullable")
    if nullable and not is_array and base in PRIMITIVES - _NULLABLE_PRIMITIVES:
        raise SpecError(f"{where}: {base} cannot be null")
    tag, tagged = _parse_tag(attributes, versions, message_flexible, where)
    override = attributes.get("flexible")
    return FieldSpec(
        name=tokens[0],
        type=base,
        is_array=is_array,
        versions=versions,
        nullable=nullable,
        tag=tag,
        tagged=tagged,
        default=_parse_default(attributes.get("default"), base, is_array, bool(nullable), where),
        ignorable="ignorable" in attributes,
        map_key="key" in attributes,
        flexible=None
        if override is None
        else NO_VERSIONS
        if override == "none"
        else _parse_versions(override, message_versions, f"{where}: flexible"),
    )


def _parse_attributes(tokens: list[str], where: str) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for token in tokens:
        name, equals, value = token.partition("=")
        takes_value = name in {"tag", "tagged", "nullable", "default", "flexible"}
        if not takes_value and name not in {"ignorable", "key"}:
            raise SpecError(f"{where}: unknown attribute {token!r}")
        if takes_value != bool(equals and value):
            raise SpecError(f"{where}: attribute {token!r} {'needs a' if takes_value else 'takes no'} value")
        if name in attributes:
            raise SpecError(f"{where}: attribute {name!r} appears twice")
        attributes[name] = value
    return attributes


def _parse_tag(
    attributes: Mapping[str, str], versions: VersionRange, flexible: VersionRange, where: str
) -> tuple[int | None, VersionRange]:
    if "tag" not in attributes:
        if "tagged" in attributes:
            raise SpecError(f"{where}: tagged= without tag=")
        return None, NO_VERSIONS
    if not attributes["tag"].isdecimal():
        raise SpecError(f"{where}: tag {attributes['tag']!r} is not a number")
    tagged = versions
    if "tagged" in attributes:
        tagged = _parse_versions(attributes["tagged"], versions, f"{where}: tagged")
    if not flexible.covers(tagged):
        raise SpecError(f"{where}: tagged in versions {tagged}, but only {flexible} are flexible")
    return int(attributes["tag"]), tagged


def _parse_versions(text: Any, within: VersionRange | None, where: str) -> VersionRange:
    """``3``, ``3-7`` or, inside a range, ``3+``."""
    match = _VERSIONS.fullmatch(text) if isinstance(text, str) else None
    if match is None or (within is None and match[2]):
        raise SpecError(f"{where}: unreadable versions {text!r}")
    first = int(match[1])
    if match[2]:
        assert within is not None
        found = VersionRange(first, within.last)
    else:
        found = VersionRange(first, int(match[3]) if match[3] else first)
    if not found or (within is not None and not within.covers(found)):
        raise SpecError(f"{where}: versions {text!r} are empty or outside {within}")
    return found


def _parse_default(text: str | None, base: str, is_array: bool, nullable: bool, where: str) -> Default:
    if text == "null":
        if not nullable:
            raise SpecError(f"{where}: default=null, but the field cannot be null")
        return None
    if is_array or base not in _DEFAULTS:
        if text is not None:
            raise SpecError(f"{where}: a list or a struct can only default to null")
        return ()
    if text is None:
        default: Default = _DEFAULTS[base]
        return default
    value = _parse_literal(text, base)
    if value is None:
        raise SpecError(f"{where}: default {text!r} is no {base}")
    return value


def _parse_literal(text: str, base: str) -> bool | int | float | str | None:
    """A default written out; None when the text does not fit the type."""
    if base == "bool":
        return {"true": True, "false": False}.get(text)
    if base == "string" and len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        if base in INTEGER_BOUNDS:
            number = int(text, 0)
            low, high = INTEGER_BOUNDS[base]
            return number if low <= number <= high else None
        return float(text) if base == "float64" else None
    except ValueError:
        return None


def _only_keys(table: Any, allowed: set[str], where: str) -> None:
    if not isinstance(table, dict):
        raise SpecError(f"{where}: expected a table")
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise SpecError(f"{where}: unknown entry {unknown[0]!r}")
