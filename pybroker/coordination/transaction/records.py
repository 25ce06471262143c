"""Transactions as records of ``__transaction_state``, byte for byte as Kafka writes them.

An int16 leads key and value: in the key it is the kind of record, in the value the version.
"""

import struct

from pybroker.coordination.transaction.calls import Producer
from pybroker.coordination.transaction.states import EMPTY, TransactionState
from pybroker.coordination.transaction.transaction import TransactionMetadata
from pybroker.model.ids import TopicPartition
from pybroker.protocol.codec import decode, encode
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.messages import TransactionLogKey, TransactionLogValue

KEY = 0
VALUES = (0, 1)
"""Version 1 can also tell of producer ids before and after, and of the client's version (KIP-890)."""

_PREFIX = struct.Struct(">h")
_PREFIX_BYTES = 2


class UnreadableRecord(ValueError):
    """A record that this coordinator should know, but cannot read."""


def transaction_key(transactional_id: str) -> bytes:
    return _PREFIX.pack(KEY) + encode(TransactionLogKey(transactional_id=transactional_id), KEY)


def transaction_value(metadata: TransactionMetadata, version: int) -> bytes:
    """The value of a record; version 0 leaves out what it has no fields for."""
    by_topic: dict[str, list[int]] = {}
    for tp in sorted(metadata.partitions):
        by_topic.setdefault(tp.topic, []).append(tp.partition)
    value = TransactionLogValue(
        producer_id=metadata.producer.producer_id,
        producer_epoch=metadata.producer.producer_epoch,
        transaction_timeout_ms=metadata.timeout_ms,
        transaction_status=metadata.state,
        transaction_partitions=None
        if metadata.state is EMPTY
        else [
            TransactionLogValue.PartitionsSchema(topic=topic, partition_ids=ids)
            for topic, ids in by_topic.items()
        ],
        transaction_last_update_timestamp_ms=metadata.updated_ms,
        transaction_start_timestamp_ms=metadata.start_ms,
    )
    if version > 0:
        value.previous_producer_id = metadata.previous_id
        value.next_producer_id = metadata.next_id
        value.client_transaction_version = metadata.client_version
    return _PREFIX.pack(version) + encode(value, version)


def read_key(key: bytes | None) -> str | None:
    """The transactional id that a record is about; None for kinds that are not known.

    Raises:
        UnreadableRecord: the key is none at all.
    """
    if _number(key) != KEY:
        return None
    assert key is not None
    try:
        transactional_id: str = decode(TransactionLogKey, KEY, key, _PREFIX_BYTES)[0].transactional_id
    except MalformedMessage as error:
        raise UnreadableRecord(str(error)) from error
    return transactional_id


def read_value(value: bytes) -> TransactionMetadata:
    """The inverse of :func:`transaction_value`.

    Raises:
        UnreadableRecord: it is something else.
    """
    version = _number(value)
    if version not in VALUES:
        raise UnreadableRecord(f"transaction of version {version}")
    try:
        read, _ = decode(TransactionLogValue, version, value, _PREFIX_BYTES)
        state = TransactionState(read.transaction_status)
    except (MalformedMessage, ValueError) as error:
        raise UnreadableRecord(str(error)) from error
    return TransactionMetadata(
        producer=Producer(read.producer_id, read.producer_epoch),
        timeout_ms=read.transaction_timeout_ms,
        state=state,
        updated_ms=read.transaction_last_update_timestamp_ms,
        partitions=frozenset(
            TopicPartition(topic.topic, index)
            for topic in read.transaction_partitions or ()
            for index in topic.partition_ids
        ),
        start_ms=read.transaction_start_timestamp_ms,
        previous_id=read.previous_producer_id,
        next_id=read.next_producer_id,
        client_version=read.client_transaction_version,
    )


def _number(data: bytes | None) -> int:
    if data is None or len(data) < _PREFIX_BYTES:
        raise UnreadableRecord(f"{data!r} has no type")
    number: int = _PREFIX.unpack_from(data)[0]
    return number
