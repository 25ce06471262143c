"""Plain data into values: what is read, how mistakes are named, and the schemas."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest
from msgspec import field

from pybroker.control.reading import BadInput, read, schema
from pybroker.model.values import Value


class Colour(Enum):
    GREEN = "green"
    BLACK = "black"


class Leaf(Value, kw_only=True):
    name: str
    grams: float = 1.0
    colour: Colour | None = None


class Tea(Value, kw_only=True):
    """A cup of it."""

    leaves: tuple[Leaf, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    steeps: int = 3
    is_hot: bool = True
    anything: Any = None


def test_nested_values_are_read_with_their_defaults() -> None:
    plain = {
        "leaves": [{"name": "sencha", "colour": "green"}, {"name": "assam", "grams": 2}],
        "labels": {"origin": "Uji", "year": 2024, "organic": True},
        "anything": {"a": [1]},
    }
    assert read(Tea, plain) == Tea(
        leaves=(Leaf(name="sencha", colour=Colour.GREEN), Leaf(name="assam", grams=2.0)),
        labels={"origin": "Uji", "year": "2024", "organic": "true"},
        anything={"a": [1]},
    )


def test_one_value_may_stand_for_a_list_of_it() -> None:
    assert read(Tea, {"leaves": {"name": "sencha"}}).leaves == (Leaf(name="sencha"),)


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"leafs": []}, "leafs: unknown; did you mean leaves?"),
        ({"zzz": 1}, "zzz: unknown; allowed are leaves, labels, steeps, is_hot, anything"),
        ({"leaves": [{"name": "a"}, {"grams": 1}]}, "leaves[1]: name is missing"),
        (
            {"leaves": [{"name": "a", "colour": "gren"}]},
            "leaves[0].colour: 'gren' is unknown; did you mean green?",
        ),
        ({"steeps": "many"}, "steeps: 'many' is not a whole number"),
        ({"steeps": True}, "steeps: True is not a whole number"),
        ({"steeps": 1.5}, "steeps: 1.5 is not a whole number"),
        ({"is_hot": 1}, "is_hot: 1 is not true or false"),
        ({"labels": ["a"]}, "labels: ['a'] is not a mapping"),
        ({"leaves": [{"name": ["x"]}]}, "leaves[0].name: ['x'] is not text"),
        ([], "the input: [] is not a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(plain: Any, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(Tea, plain)
    assert str(refused.value) == words


def test_a_schema_says_what_is_read() -> None:
    described = schema(Tea)
    assert described["description"] == "A cup of it."
    assert described["additionalProperties"] is False
    assert "required" not in described
    leaf = described["properties"]["leaves"]["items"]
    assert leaf["required"] == ["name"]
    assert leaf["properties"]["colour"] == {
        "anyOf": [{"type": "string", "enum": ["green", "black"]}, {"type": "null"}]
    }
    assert described["properties"]["steeps"] == {"type": "integer", "default": 3}
    assert described["properties"]["labels"] == {"type": "object", "additionalProperties": {"type": "string"}}
