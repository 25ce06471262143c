"""Records of ``__transaction_state``, against bytes and Kafka's own field order."""

import pytest
from msgspec.structs import replace

from pybroker.coordination.transaction.calls import TV_2, Producer
from pybroker.coordination.transaction.records import (
    UnreadableRecord,
    read_key,
    read_value,
    transaction_key,
    transaction_value,
)
from pybroker.coordination.transaction.states import COMPLETE_COMMIT, EMPTY, ONGOING
from pybroker.coordination.transaction.transaction import TransactionMetadata
from pybroker.model.ids import TopicPartition

PARTITIONS = frozenset({TopicPartition("b", 1), TopicPartition("a", 2), TopicPartition("a", 0)})
OPEN = TransactionMetadata(
    Producer(7, 3), 60_000, ONGOING, updated_ms=12, partitions=PARTITIONS, start_ms=11, previous_id=6
)


def test_key() -> None:
    assert transaction_key("tx") == bytes.fromhex("0000 0002 7478")
    assert read_key(transaction_key("tx")) == "tx"
    assert read_key(b"\0\1anything") is None


def test_value_of_version_0() -> None:
    """Everything but what only version 1 has."""
    value = transaction_value(OPEN, 0)
    assert value == bytes.fromhex(
        "0000 0000000000000007 0003 0000ea60 01"
        "00000002 0001 61 00000002 00000000 00000002 0001 62 00000001 00000001"
        "000000000000000c 000000000000000b"
    )
    assert read_value(value) == replace(OPEN, previous_id=-1)


def test_an_empty_transaction_has_null_partitions() -> None:
    value = transaction_value(TransactionMetadata(Producer(7, 0), 1, EMPTY, updated_ms=1), 0)
    assert value[-20:-16] == b"\xff\xff\xff\xff"
    assert read_value(value).partitions == frozenset()


def test_version_1_tells_of_other_ids_and_of_the_client() -> None:
    closed = TransactionMetadata(
        Producer(8, 0), 1, COMPLETE_COMMIT, 5, start_ms=4, previous_id=7, next_id=9, client_version=TV_2
    )
    assert read_value(transaction_value(closed, 1)) == closed


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0", b"\0\2" + bytes(40), b"\0\0" + b"\x63" * 40])
def test_what_cannot_be_read(value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        read_value(value)


@pytest.mark.parametrize("key", [None, b"", b"\0\0\0\5ab"])
def test_keys_that_cannot_be_read(key: bytes | None) -> None:
    with pytest.raises(UnreadableRecord):
        read_key(key)
