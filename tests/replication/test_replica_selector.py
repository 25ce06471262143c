"""Which replica a consumer is sent to."""

import pytest

from pybroker.config.broker import BrokerConfig
from pybroker.config.values import InvalidConfig
from pybroker.replication.replica_selector import SELECTORS, ReplicaView, rack_aware

LEADER = ReplicaView(1, "a", 100, 0)


def view(broker_id: int, rack: str | None, end: int = 90, behind_ms: int = 10) -> ReplicaView:
    return ReplicaView(broker_id, rack, end, behind_ms)


@pytest.mark.parametrize(
    ("rack", "followers", "chosen"),
    [
        ("b", [view(2, "b"), view(3, "c")], 2),
        ("a", [view(2, "a", end=100)], 1),
        ("", [view(2, "b")], 1),
        ("z", [view(2, "b"), view(3, None)], 1),
        ("b", [], 1),
        ("b", [view(2, "b", end=90), view(3, "b", end=95)], 3),
        ("b", [view(2, "b", behind_ms=5), view(3, "b", behind_ms=9)], 2),
        ("b", [view(2, "b"), view(3, "b")], 3),
    ],
    ids=[
        "in the rack",
        "the leader is near",
        "no rack",
        "nobody near",
        "no followers",
        "longest",
        "freshest",
        "id",
    ],
)
def test_rack_aware(rack: str, followers: list[ReplicaView], chosen: int) -> None:
    assert rack_aware(rack, LEADER, followers).broker_id == chosen


def test_the_class_has_to_be_one_of_kafkas() -> None:
    for name in SELECTORS:
        BrokerConfig.from_properties({"replica.selector.class": name})
    with pytest.raises(InvalidConfig, match=r"replica\.selector\.class com\.example\.Mine does not exist"):
        BrokerConfig.from_properties({"replica.selector.class": "com.example.Mine"})
