"""Groups and transactional ids hash to partitions exactly as in Java."""

import pytest

from pybroker.coordination.partitioning import coordinator_partition, java_string_hash


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("polygenelubricants", -2147483648),
        ("é", 233),
        ("größe", 98762257),
    ],
)
def test_hash_is_javas(text: str, value: int) -> None:
    assert java_string_hash(text) == value


def test_characters_beyond_the_bmp_count_as_two_code_units() -> None:
    assert java_string_hash("😀") == 0xD83D * 31 + 0xDE00


def test_the_smallest_int_goes_to_partition_zero() -> None:
    assert coordinator_partition("polygenelubricants", 50) == 0


def test_a_negative_hash_is_made_positive_not_masked() -> None:
    key = next(key for key in (f"group-{n}" for n in range(1000)) if java_string_hash(key) < 0)
    assert coordinator_partition(key, 50) == -java_string_hash(key) % 50
