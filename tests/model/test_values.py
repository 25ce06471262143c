"""What the bases of all value classes promise."""

import pytest

from pybroker.model.values import State, Value


class Point(Value):
    x: int
    y: int = 0


class Deep(Point):
    z: int = 0


class Counter(State):
    count: int = 0


class Handle(State, eq=False):
    number: int


def test_values_are_compared_and_hashed_by_their_fields() -> None:
    assert Point(1) == Point(1, 0) and Point(1) != Point(2)
    assert {Point(1): "found"}[Point(1)] == "found"


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]


def test_a_subclass_equals_only_its_like() -> None:
    assert Deep(1) == Deep(1) and Deep(1) != Point(1) and Point(1) != Deep(1)


def test_state_can_be_changed_and_not_hashed() -> None:
    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)


def test_without_eq_each_equals_itself_alone() -> None:
    handle = Handle(1)
    assert handle == handle and handle != Handle(1)
    assert {handle: "found"}[handle] == "found"
