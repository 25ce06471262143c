"""Any bytes: refused with a code, or good. Nothing else, and no more memory than the ceiling."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.records.batch import (
    CompressionType,
    Record,
    compute_crc,
    crc_is_valid,
    iter_batch_headers,
    iter_records,
)
from pybroker.records.builder import assemble_batch, build_batch
from pybroker.records.compression import compress
from pybroker.records.downconversion import down_convert
from pybroker.records.errors import InvalidRecords
from pybroker.records.legacy import build_message, build_message_set, iter_message_set
from pybroker.records.policy import ValidationLevel, ValidationPolicy
from pybroker.records.record import encode_record
from pybroker.records.validation import is_long, validate_produce
from tests.records.samples import CODECS, LEGACY_CODECS, NOW, PLAIN_SAMPLE, SAMPLE

_CEILING = 1_000_000

_policies = st.builds(
    ValidationPolicy,
    level=st.sampled_from(ValidationLevel),
    compacted=st.booleans(),
    before_max_ms=st.sampled_from([2**63 - 1, 1000]),
    max_message_bytes=st.sampled_from([400, 100_000]),
    compression_type=st.sampled_from([None, *CODECS]),
    max_decompressed_bytes=st.just(_CEILING),
)


def _try(data: bytes | bytearray, policy: ValidationPolicy, version: int) -> None:
    is_long(data, policy)
    try:
        validated = validate_produce(memoryview(data), policy, NOW, produce_version=version)
    except InvalidRecords:
        return
    assert crc_is_valid(validated.buffer)
    assert validated.header.size_in_bytes == len(validated.buffer)
    if policy.level is ValidationLevel.FULL:
        assert len(list(iter_records(validated.buffer))) == validated.record_count


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), _policies, st.sampled_from([0, 2, 3, 9]))
def test_noise(data: bytes, policy: ValidationPolicy, version: int) -> None:
    _try(data, policy, version)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(CODECS),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4),
    st.booleans(),
    _policies,
    st.sampled_from([2, 9]),
)
def test_mutated_batches(
    codec: CompressionType,
    changes: list[tuple[int, int]],
    mend_crc: bool,
    policy: ValidationPolicy,
    version: int,
) -> None:
    batch = bytearray(build_batch(SAMPLE, compression=codec))
    for position, value in changes:
        batch[position % len(batch)] = value
    if mend_crc:
        batch[17:21] = compute_crc(batch).to_bytes(4, "big")
    _try(batch, policy, version)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([0, 1]),
    st.sampled_from(LEGACY_CODECS),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4),
    _policies,
)
def test_mutated_messages_in_a_sound_wrapper(
    magic: int, codec: CompressionType, changes: list[tuple[int, int]], policy: ValidationPolicy
) -> None:
    inner = bytearray(build_message_set(PLAIN_SAMPLE, magic))
    for position, value in changes:
        inner[position % len(inner)] = value
    wrapper = build_message(magic, 0, NOW, None, compress(codec, inner, magic=magic), codec)
    _try(wrapper, policy, 2)
    _try(inner, policy, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(CODECS),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from([0, 1]),
)
def test_stored_bytes_that_rot(codec: CompressionType, changes: list[tuple[int, int]], magic: int) -> None:
    batch = bytearray(build_batch(SAMPLE, compression=codec))
    for position, value in changes:
        batch[position % len(batch)] = value
    try:
        for position, header in iter_batch_headers(batch):
            list(iter_records(batch[position : position + header.size_in_bytes], ceiling_bytes=_CEILING))
    except InvalidRecords:
        pass
    try:
        converted = down_convert(bytes(batch), magic, 0, ceiling_bytes=_CEILING)
        list(iter_message_set(converted))
    except InvalidRecords:
        pass


def _tiny_records_bomb(codec: CompressionType, count: int) -> bytes:
    """A small batch of very many keyless records of the least size."""
    body = compress(codec, encode_record(0, 0, None, None) * count)
    return assemble_batch(
        body,
        base_offset=0,
        leader_epoch=-1,
        attributes=codec,
        last_offset_delta=count - 1,
        base_timestamp=NOW,
        max_timestamp=NOW,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=count,
    )


def _peak_bytes(data: bytes, policy: ValidationPolicy, version: int = 9) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(InvalidRecords):
            validate_produce(data, policy, NOW, produce_version=version)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", CODECS[1:])
def test_checking_the_structure_of_a_bomb_costs_a_few_pieces(codec: CompressionType) -> None:
    bomb = build_batch([Record(0, NOW, None, bytes(40_000_000))], compression=codec)
    policy = ValidationPolicy(max_message_bytes=50_000_000, max_decompressed_bytes=30_000_000)
    assert _peak_bytes(bomb, policy) < 3_000_000 + 2 * len(bomb)


@pytest.mark.parametrize("level", ValidationLevel)
def test_very_many_tiny_records_cost_no_object_each(level: ValidationLevel) -> None:
    bomb = _tiny_records_bomb(CompressionType.ZSTD, 15_000)
    assert len(bomb) < 500
    assert (
        _peak_bytes(bomb, ValidationPolicy(level=level, compacted=level is ValidationLevel.FULL)) < 4_000_000
    )
    assert _peak_bytes(bomb, ValidationPolicy(compression_type=CompressionType.NONE)) < 4_000_000


def test_very_many_tiny_messages_cost_no_object_each() -> None:
    inner = build_message(1, 0, NOW, None, None) * 5_000
    wrapper = build_message(1, 0, NOW, None, compress(CompressionType.GZIP, inner), CompressionType.GZIP)
    assert _peak_bytes(wrapper, ValidationPolicy(), 2) < 6 * len(inner)


def test_a_count_of_two_billion_costs_nothing() -> None:
    batch = bytearray(build_batch(SAMPLE))
    batch[57:61] = (2**31 - 1).to_bytes(4, "big")
    batch[23:27] = (2**31 - 2).to_bytes(4, "big")
    batch[17:21] = compute_crc(batch).to_bytes(4, "big")
    assert _peak_bytes(bytes(batch), ValidationPolicy()) < 100_000
