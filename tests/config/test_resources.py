"""What configurations belong to, in the numbers and words of the protocol."""

import pytest

from pybroker.config.resources import ConfigResource, ResourceType, node_id


def test_a_resource_reads_as_kafka_prints_it() -> None:
    assert str(ConfigResource(2, "orders")) == "ConfigResource(type=TOPIC, name='orders')"
    assert str(ConfigResource(8, "0")) == "ConfigResource(type=BROKER_LOGGER, name='0')"


@pytest.mark.parametrize("number", [-1, 0, 1, 3, 64, 127])
def test_other_numbers_are_unknown(number: int) -> None:
    assert ConfigResource(number, "x").type is ResourceType.UNKNOWN


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("+7", 7),
        ("-1", -1),
        ("0000000000012", 12),
        ("2147483647", 2147483647),
        ("2147483648", None),
        ("9" * 5000, None),
        ("", None),
        ("-", None),
        (" 1", None),
        ("1_0", None),
        ("²", None),
        ("one", None),
    ],
)
def test_a_broker_is_named_by_a_java_integer(text: str, number: int | None) -> None:
    assert node_id(text) == number
