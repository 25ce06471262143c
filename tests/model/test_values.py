"""Classes made by pybroker.model.values behave like those that attrs makes."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from pybroker.model import values

MAKERS: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = (
    (attrs.frozen, values.frozen),
    (attrs.define, values.define),
)


def made_by(maker: Callable[..., Any], **options: bool) -> Any:
    @maker(**options)
    class Point:
        x: int
        y: int = 0
        note: str = attrs.field(default="", eq=False)
        secret: str = attrs.field(default="s", repr=False)

    return Point


@pytest.mark.parametrize("attrs_own, ours", MAKERS)
def test_they_print_compare_and_match_as_those_of_attrs(
    attrs_own: Callable[..., Any], ours: Callable[..., Any]
) -> None:
    for each in (made_by(attrs_own), made_by(ours)):
        assert repr(each(1)).endswith("Point(x=1, y=0, note='')")
        assert each(1) == each(1, note="does not count")
        assert each(1) != each(1, secret="counts")
        assert each(1) != 1
        assert each.__match_args__ == ("x", "y", "note", "secret")


@pytest.mark.parametrize("maker", [attrs.frozen, values.frozen])
def test_frozen_ones_are_keys_and_cannot_be_changed(maker: Callable[..., Any]) -> None:
    point = made_by(maker)
    assert {point(1): "found"}[point(1, note="does not count")] == "found"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        point(1).x = 2


@pytest.mark.parametrize("maker", [attrs.define, values.define])
def test_those_that_change_cannot_be_hashed(maker: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(made_by(maker)(1))


@pytest.mark.parametrize("attrs_own, ours", MAKERS)
def test_without_eq_each_equals_itself_alone(attrs_own: Callable[..., Any], ours: Callable[..., Any]) -> None:
    for each in (made_by(attrs_own, eq=False), made_by(ours, eq=False)):
        one = each(1)
        assert one == one and one != each(1)
        assert {one: "found"}[one] == "found"


@pytest.mark.parametrize("attrs_own, ours", MAKERS)
def test_methods_of_the_class_win(attrs_own: Callable[..., Any], ours: Callable[..., Any]) -> None:
    for maker in (attrs_own, ours):

        @maker
        class Parity:
            number: int

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Parity) and self.number % 2 == other.number % 2

            def __hash__(self) -> int:
                return self.number % 2

            def __repr__(self) -> str:
                return "odd" if self.number % 2 else "even"

        assert Parity(1) == Parity(3) and hash(Parity(1)) == hash(Parity(3))
        assert repr(Parity(2)) == "even"


def test_a_subclass_equals_only_its_like() -> None:
    @values.frozen
    class Base:
        x: int

    @values.frozen
    class Derived(Base):
        y: int = 0

    assert Base(1) != Derived(1)
    assert Derived(1, 2) == Derived(1, 2) != Derived(1, 3)
    assert repr(Derived(1)).endswith("Derived(x=1, y=0)")


def test_a_class_without_fields_equals_every_instance_of_it() -> None:
    @values.frozen
    class Nothing:
        pass

    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1
