"""Texts become values and values become texts as in Kafka's ConfigDef."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.config.values import ConfigType, ConfigValue, InvalidValue, format_value, java_text, parse_value


@pytest.mark.parametrize(
    ("config_type", "text", "value"),
    [
        (ConfigType.BOOLEAN, " TRUE ", True),
        (ConfigType.BOOLEAN, "false", False),
        (ConfigType.INT, "+12", 12),
        (ConfigType.INT, "-2147483648", -(2**31)),
        (ConfigType.INT, "0000000000000000000000000000007", 7),
        (ConfigType.SHORT, "32767", 32767),
        (ConfigType.LONG, "9223372036854775807", 2**63 - 1),
        (ConfigType.DOUBLE, "0.5", 0.5),
        (ConfigType.DOUBLE, "1e3", 1000.0),
        (ConfigType.DOUBLE, ".5d", 0.5),
        (ConfigType.STRING, "  a b ", "a b"),
        (ConfigType.LIST, "", ()),
        (ConfigType.LIST, " a ,b,, c ", ("a", "b", "", "c")),
        (ConfigType.CLASS, " org.example.Thing ", "org.example.Thing"),
        (ConfigType.PASSWORD, " secret ", "secret"),
    ],
)
def test_a_text_is_read_as_its_type(config_type: ConfigType, text: str, value: ConfigValue) -> None:
    parsed = parse_value("k", text, config_type)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("config_type", "text", "sentence"),
    [
        (
            ConfigType.BOOLEAN,
            "yes",
            "Invalid value yes for configuration k: Expected value to be either true or false",
        ),
        (
            ConfigType.INT,
            "2147483648",
            "Invalid value 2147483648 for configuration k: Not a number of type INT",
        ),
        (ConfigType.INT, "1_000", "Invalid value 1_000 for configuration k: Not a number of type INT"),
        (ConfigType.INT, "", "Invalid value  for configuration k: Not a number of type INT"),
        (ConfigType.SHORT, "32768", "Invalid value 32768 for configuration k: Not a number of type SHORT"),
        (
            ConfigType.LONG,
            "9" * 5000,
            f"Invalid value {'9' * 5000} for configuration k: Not a number of type LONG",
        ),
        (ConfigType.DOUBLE, "half", "Invalid value half for configuration k: Not a number of type DOUBLE"),
    ],
)
def test_a_text_of_another_type_is_refused_in_kafkas_words(
    config_type: ConfigType, text: str, sentence: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_value("k", text, config_type)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.001, "0.001"),
        (1e-4, "1.0E-4"),
        (1.5e-7, "1.5E-7"),
        (100.0, "100.0"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (-3e-5, "-3.0E-5"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (float("nan"), "NaN"),
        (True, "true"),
        (("a", "b"), "[a, b]"),
        (None, "null"),
    ],
)
def test_values_are_shown_as_java_shows_them(value: ConfigValue, text: str) -> None:
    assert java_text(value) == text


def test_a_list_is_described_without_brackets_and_null_stays_null() -> None:
    assert format_value(("compact", "delete")) == "compact,delete"
    assert format_value(None) is None


@settings(max_examples=200)
@given(st.floats(allow_nan=False))
def test_a_shown_double_reads_back_as_itself(value: float) -> None:
    assert parse_value("k", java_text(value), ConfigType.DOUBLE) == value


@settings(max_examples=100)
@given(st.integers(-(2**63), 2**63 - 1))
def test_a_shown_long_reads_back_as_itself(value: int) -> None:
    assert parse_value("k", java_text(value), ConfigType.LONG) == value
