"""The fast formats say what the construct declarations say."""

import construct
import pytest

from pybroker.records import layout
from pybroker.records.header import BatchHeader, read_batch_header
from tests.records.samples import sample_batch

_DECLARATIONS = [
    layout.BATCH_HEADER,
    layout.LOG_OVERHEAD,
    layout.MESSAGE_HEADER_V0,
    layout.MESSAGE_HEADER_V1,
    layout.CONTROL_RECORD_KEY,
    layout.END_TRANSACTION_VALUE,
]


@pytest.mark.parametrize("declaration", _DECLARATIONS)
def test_the_derived_format_packs_what_construct_builds(declaration: construct.Struct) -> None:
    values = {name: index + 1 for index, name in enumerate(layout.field_names(declaration))}
    derived = layout.struct_of(declaration)
    assert derived.pack(*values.values()) == declaration.build(values)
    assert derived.size == declaration.sizeof()


def test_a_header_reads_as_construct_parses_it() -> None:
    batch = bytes(sample_batch())
    parsed = layout.BATCH_HEADER.parse(batch)
    assert read_batch_header(batch)._asdict() == {name: parsed[name] for name in BatchHeader._fields}


def test_positions_are_those_of_kafkas_default_record_batch() -> None:
    assert layout.BATCH_HEADER_BYTES == 61
    assert layout.LOG_OVERHEAD_BYTES == 12
    assert layout.LEADER_EPOCH_POSITION == 12
    assert layout.MAGIC_POSITION == 16
    assert layout.CRC_POSITION == 17
    assert layout.ATTRIBUTES_POSITION == 21
    assert layout.MAX_TIMESTAMP_POSITION == 35


def test_only_plain_big_endian_numbers_have_a_format() -> None:
    with pytest.raises(TypeError):
        layout.struct_of(construct.Struct("x" / construct.Int32ul))
    with pytest.raises(TypeError):
        layout.struct_of(construct.Struct("x" / construct.Bytes(3)))
