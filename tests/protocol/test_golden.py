"""Our codec against bytes that Apache Kafka's own classes wrote (``tests/golden``, where kio has no word)."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from pybroker.protocol import codec, messages, specs
from tests.golden.generate import GOLDEN, wanted

Line = tuple[str, int, str, str, str, Mapping[str, Any]]


def read_golden() -> dict[str, list[Line]]:
    lines = defaultdict(list)
    for text in GOLDEN.read_text(encoding="utf-8").splitlines()[1:]:
        line = tuple(json.loads(text))
        lines[line[0]].append(line)
    return lines


BY_MESSAGE = read_golden()


def build(whole: type, cls: type, spec: specs.MessageSpec, fields: Any, values: Mapping[str, Any]) -> Any:
    """The message or struct that the JSON values of a golden line describe."""
    members = {field.name: field for field in fields}

    def convert(field: specs.FieldSpec, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            return [convert(field, element) for element in value]
        if field.is_struct:
            return build(whole, getattr(whole, field.type), spec, spec.structs[field.type].fields, value)
        return bytes.fromhex(value) if field.type in ("bytes", "records", "uuid") else value

    return cls(**{name: convert(members[name], value) for name, value in values.items()})


@pytest.mark.parametrize("name", sorted(BY_MESSAGE))
def test_decoding_and_encoding_agree_with_kafka(name: str) -> None:
    message, spec = getattr(messages, name), specs.find_message(name)
    for _, version, release, variant, hexadecimal, values in BY_MESSAGE[name]:
        place = f"{name} v{version} {variant} of Kafka {release}"
        wire = bytes.fromhex(hexadecimal)
        expected = build(message, message, spec, spec.fields, values)
        assert codec.decode(message, version, wire) == (expected, len(wire)), place
        assert codec.encode(expected, version).hex() == hexadecimal, place


def test_default_messages_are_kafkas_default_messages() -> None:
    """A message made without arguments has the defaults of Kafka's own class."""
    for name, lines in BY_MESSAGE.items():
        message, spec = getattr(messages, name), specs.find_message(name)
        for _, version, release, variant, _, values in lines:
            if variant == "default":
                built = build(message, message, spec, spec.fields, values)
                assert built == message(), f"{name} v{version} of Kafka {release}"


def test_every_version_that_kio_lacks_has_golden_bytes() -> None:
    there = {(line[0], line[1], line[3]) for lines in BY_MESSAGE.values() for line in lines}
    for name, version in wanted():
        assert (name, version, "filled") in there
