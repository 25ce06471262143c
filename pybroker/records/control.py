"""Control records: the markers that end transactions.

Source: Kafka's ``ControlRecordType`` and ``EndTransactionMarker``.
"""

from enum import IntEnum

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LeaderEpoch, Offset, ProducerEpoch, ProducerId
from pybroker.model.values import Value
from pybroker.records.batch import iter_records
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import Buffer
from pybroker.records.layout import CONTROL_RECORD_KEY, END_TRANSACTION_VALUE, struct_of

_KEY = struct_of(CONTROL_RECORD_KEY)
_VALUE = struct_of(END_TRANSACTION_VALUE)
_VERSION = 0


class ControlRecordType(IntEnum):
    """Types of control records that a ZooKeeper-mode log holds."""

    ABORT = 0
    COMMIT = 1


class EndTransactionMarker(Value):
    """The end of a producer's transaction in one partition."""

    type: ControlRecordType
    coordinator_epoch: int


def build_end_transaction_marker(
    marker: EndTransactionMarker,
    *,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    timestamp_ms: int,
    base_offset: Offset = 0,
    leader_epoch: LeaderEpoch = -1,
) -> bytes:
    """The control batch of one record that ends a transaction."""
    builder = RecordBatchBuilder(
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        is_transactional=True,
        is_control=True,
        leader_epoch=leader_epoch,
    )
    builder.append(
        _KEY.pack(_VERSION, marker.type), _VALUE.pack(_VERSION, marker.coordinator_epoch), timestamp_ms
    )
    return builder.build()


def control_record_type(key: bytes | None) -> int:
    """The type that a control record's key names; other numbers than those known are to be skipped.

    Raises:
        InvalidRecords: the key is too short or its version is negative (``INVALID_RECORD``).
    """
    if key is None or len(key) < _KEY.size:
        raise _invalid("the key of a control record is too short")
    version, number = _KEY.unpack_from(key)
    if version < 0:
        raise _invalid(f"version {version} of a control record is negative")
    kind: int = number
    return kind


def parse_end_transaction_marker(key: bytes | None, value: bytes | None) -> EndTransactionMarker:
    """Read a marker from its record.

    Raises:
        InvalidRecords: it is no marker, or damaged (``INVALID_RECORD``).
    """
    kind = control_record_type(key)
    if kind not in (ControlRecordType.ABORT, ControlRecordType.COMMIT):
        raise _invalid(f"control record type {kind} ends no transaction")
    if value is None or len(value) < _VALUE.size:
        raise _invalid("the value of a transaction marker is too short")
    version, coordinator_epoch = _VALUE.unpack_from(value)
    if version < 0:
        raise _invalid(f"version {version} of a transaction marker is negative")
    return EndTransactionMarker(ControlRecordType(kind), coordinator_epoch)


def read_end_transaction_marker(batch: Buffer) -> EndTransactionMarker | None:
    """The marker in one whole control batch, None when it has no record or its type is unknown.

    Raises:
        InvalidRecords: the batch or the marker is damaged.
    """
    for record in iter_records(batch):
        if control_record_type(record.key) not in (ControlRecordType.ABORT, ControlRecordType.COMMIT):
            return None
        return parse_end_transaction_marker(record.key, record.value)
    return None


def _invalid(message: str) -> InvalidRecords:
    return InvalidRecords(ErrorCode.INVALID_RECORD, message)
