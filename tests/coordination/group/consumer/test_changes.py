"""Records and hashes are those of Apache Kafka 4.3, byte for byte (``golden/groups/DumpGroups.java``)."""

import json
from pathlib import Path
from typing import Any

import pytest

from pybroker.coordination.group.consumer.changes import (
    Change,
    CurrentChanged,
    GroupEpochChanged,
    PartitionMetadataSeen,
    ProfileChanged,
    RegexChanged,
    TargetChanged,
    TargetEpochChanged,
    read_change,
    record,
)
from pybroker.coordination.group.consumer.state import (
    ClassicProfile,
    Current,
    MemberState,
    Profile,
    ResolvedRegex,
    TopicIdPartition,
)
from pybroker.coordination.group.consumer.topics import metadata_hash
from pybroker.coordination.group.wire import UnreadableRecord
from pybroker.metadata.image import BrokerInfo, ClusterImage, PartitionImage, TopicImage

KAFKA: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "golden" / "groups" / "kafka-4.3.1.json").read_text()
)
A = bytes.fromhex("0102030405060708090a0b0c0d0e0f10")
B = bytes.fromhex("71f2f3f4f5f6f7f8f9fafbfcfdfeff00")
PAYMENTS = "payments-é"
WHEN_MS = 1_700_000_000_000

PROFILE = Profile(
    instance_id="i1",
    rack_id="rack0",
    rebalance_timeout_ms=45000,
    client_id="c",
    client_host="/10.0.0.1",
    topic_names=frozenset({"orders", PAYMENTS}),
    server_assignor="range",
)
CLASSIC = Profile(
    rebalance_timeout_ms=1000,
    client_id="c",
    client_host="/h",
    topic_names=frozenset({"orders"}),
    classic=ClassicProfile(6000, (("range", b"\0\1"),)),
)
CURRENT = Current(
    epoch=5,
    previous_epoch=4,
    state=MemberState.UNREVOKED_PARTITIONS,
    assigned={TopicIdPartition(A, 0): 3, TopicIdPartition(A, 2): 5, TopicIdPartition(B, 0): 4},
    revoking={TopicIdPartition(A, 1): 2},
)
TARGET = frozenset({TopicIdPartition(A, 0), TopicIdPartition(A, 2), TopicIdPartition(B, 0)})

CHANGES: dict[str, Change] = {
    "group epoch": GroupEpochChanged(7, -2),
    "group epoch gone": GroupEpochChanged(None),
    "partition metadata gone": PartitionMetadataSeen(is_there=False),
    "profile": ProfileChanged("m1", PROFILE),
    "classic profile": ProfileChanged("m2", CLASSIC),
    "profile gone": ProfileChanged("m1", None),
    "target epoch": TargetEpochChanged(7, WHEN_MS),
    "target epoch gone": TargetEpochChanged(None),
    "target": TargetChanged("m1", TARGET),
    "target gone": TargetChanged("m1", None),
    "current": CurrentChanged("m1", CURRENT),
    "current gone": CurrentChanged("m1", None),
    "regex": RegexChanged("o.*", ResolvedRegex(frozenset({"orders"}), 12, WHEN_MS)),
    "regex gone": RegexChanged("o.*", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_written_as_kafka_writes_it(name: str) -> None:
    key, value = record("g", CHANGES[name])
    assert [key.hex(), None if value is None else value.hex()] == KAFKA[name]


@pytest.mark.parametrize("name", CHANGES)
def test_what_kafka_writes_is_read(name: str) -> None:
    key, value = KAFKA[name]
    found = read_change(bytes.fromhex(key), None if value is None else bytes.fromhex(value))
    assert found == ("g", CHANGES[name])


def test_a_record_without_epochs_of_its_partitions_takes_those_of_the_member() -> None:
    """Kafka before 4.3 wrote none."""
    key, value = record("g", CurrentChanged("m", Current(4, 3, assigned={TopicIdPartition(A, 1): 4})))
    assert value is not None
    without_tag = value[: -len(bytes.fromhex("01 00 05 02 00000004 01 00"))] + bytes.fromhex("00 01 00")
    assert read_change(key, without_tag)[1] == CurrentChanged(
        "m", Current(4, 3, assigned={TopicIdPartition(A, 1): 4})
    )


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\x09", b"\0\0\0"])
def test_a_damaged_value_is_told(value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        read_change(bytes.fromhex(KAFKA["group epoch"][0]), value)


def image(**racks: str | None) -> ClusterImage:
    """The cluster of the golden values; a broker's rack may be another one."""
    known = {0: "rack0", 1: "rack1", 2: "ä-rack", **{int(name[1:]): rack for name, rack in racks.items()}}
    orders = {at: PartitionImage(at, at, 0, (at,), (at, (at + 1) % 3)) for at in range(3)}
    payments = {0: PartitionImage(0, 2, 0, (2,), (2, 1, 0))}
    return ClusterImage(
        brokers={broker: BrokerInfo(broker, (), rack) for broker, rack in known.items()},
        topics={"orders": TopicImage("orders", A, orders), PAYMENTS: TopicImage(PAYMENTS, B, payments)},
    )


def test_the_hash_of_the_metadata_is_kafkas() -> None:
    assert metadata_hash(image(), ["orders"]) == KAFKA["hash of orders"]
    assert metadata_hash(image(), [PAYMENTS, "orders", "missing"]) == KAFKA["hash of both"]
    assert metadata_hash(image(), ["missing"]) == 0


def test_another_rack_is_another_hash() -> None:
    assert metadata_hash(image(b1="elsewhere"), ["orders"]) != KAFKA["hash of orders"]
    assert metadata_hash(image(b1=None), ["orders"]) != KAFKA["hash of orders"]
