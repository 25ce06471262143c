"""Our codec and kio's give the same bytes for the same values, and read the same values from them."""

import io
import random

import pytest
from kio.serial import entity_reader, entity_writer

from pybroker.protocol import codec, messages
from pybroker.protocol.schema import message_structure
from pybroker.protocol.specs import all_messages
from tests.protocol.kio_adapter import kio_entity, to_kio
from tests.protocol.random_messages import random_value

KNOWN = [
    (name, version)
    for name, spec in sorted(all_messages().items())
    for version in spec.versions
    if kio_entity(name, version) is not None
]
VALUES = 5


@pytest.mark.parametrize("name", sorted({name for name, _ in KNOWN}))
def test_same_bytes_as_kio(name: str) -> None:
    message = getattr(messages, name)
    for version in (version for known, version in KNOWN if known == name):
        entity = kio_entity(name, version)
        assert entity is not None
        rng = random.Random(f"{name} {version}")
        for _ in range(VALUES):
            value = random_value(rng, message_structure(message, version))
            theirs = to_kio(value, entity, version)
            data = codec.encode(value, version)
            buffer = io.BytesIO()
            entity_writer(entity)(buffer, theirs)
            assert data.hex() == buffer.getvalue().hex(), (name, version, value)
            assert entity_reader(entity)(data, 0) == (theirs, len(data)), (name, version)
            assert codec.decode(message, version, buffer.getvalue()) == (value, len(data))
