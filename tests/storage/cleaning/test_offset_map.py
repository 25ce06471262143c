"""The offset map is a dictionary within fixed memory."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.storage.cleaning.offset_map import BYTES_PER_SLOT, OffsetMap


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 1 << 60)), max_size=150), st.integers(60, 200)
)
def test_it_answers_as_a_dictionary_does(pairs: list[tuple[bytes, int]], slots: int) -> None:
    offsets, model = OffsetMap(slots * BYTES_PER_SLOT, 1.0), dict[bytes, int]()
    for key, offset in pairs:
        if key in model or len(model) < slots - 1:
            offsets.put(key, offset)
            model[key] = offset
            assert offsets.latest_offset == offset
    assert len(offsets) == len(model)
    assert {key: offsets.get(key) for key, _ in pairs} == {key: model.get(key, -1) for key, _ in pairs}


def test_every_slot_but_one_may_be_filled_and_all_is_found_again() -> None:
    offsets = OffsetMap(1000 * BYTES_PER_SLOT, 1.0)
    for n in range(999):
        assert not offsets.is_full
        offsets.put(b"key %d" % n, n)
    assert offsets.is_full
    assert [offsets.get(b"key %d" % n) for n in range(1001)] == [*range(999), -1, -1]
    offsets.put(b"key 5", 2000)
    assert offsets.get(b"key 5") == 2000
    with pytest.raises(OverflowError):
        offsets.put(b"another", 1)


@pytest.mark.parametrize(
    ("memory", "load", "limit"), [(0, 0.9, 1), (240, 0.9, 9), (240, 0.5, 5), (240, 1.0, 9), (48, 0.1, 1)]
)
def test_it_is_full_at_its_load_factor_but_takes_at_least_one_key(
    memory: int, load: float, limit: int
) -> None:
    offsets = OffsetMap(memory, load)
    count = 0
    while not offsets.is_full:
        offsets.put(b"%d" % count, count)
        count += 1
    assert count == limit


def test_bytes_of_two_neighbours_that_look_like_a_third_hash_are_not_taken_for_it() -> None:
    offsets = OffsetMap(50 * BYTES_PER_SLOT, 0.9)
    rng = random.Random(3)
    for n in range(40):
        offsets.put(rng.randbytes(4), n)
    table = bytes(offsets._hashes)
    for position in range(1, len(table) - 16):
        wanted = table[position : position + 16]
        found = offsets._aligned(wanted, 0, len(table))
        assert found % 16 == 0 or found == -1
        if position % 16 and any(wanted):
            assert found != position
