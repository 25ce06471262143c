"""Tied votes are decided as Kafka decides them; the expected orders are those of scala-library 2.13.15."""

import pytest

from pybroker.coordination.group.scala_order import scala_order
from tests.coordination.group.dialogue import Dialogue


@pytest.mark.parametrize(
    "ordered",
    [
        "range,sticky",
        "roundrobin,range",
        "cooperative-sticky,range",
        "a,b,c",
        "compatible,default,sessioned",
        "alpha,zeta",
        "cooperative-sticky,roundrobin,range,sticky",
        "range,stream",
    ],
)
def test_order(ordered: str) -> None:
    names = ordered.split(",")
    assert scala_order(names) == scala_order(reversed(names)) == names


def test_keys_that_share_a_slot_come_after_the_others() -> None:
    names = [f"p{number}" for number in range(200)]
    assert sorted(scala_order(names)) == sorted(names)
    assert scala_order(names) == scala_order(reversed(names))


def test_a_tie_does_not_depend_on_who_joined_first() -> None:
    talk = Dialogue()
    prefers_range = (("range", b""), ("roundrobin", b""))
    prefers_other = (("roundrobin", b""), ("range", b""))
    token = talk.join(protocols=prefers_range)
    talk.join(protocols=prefers_other)
    talk.advance(6000)
    assert talk.joined(token).protocol_name == "roundrobin"
