"""Building record batches of magic 2, as Kafka's ``MemoryRecordsBuilder`` lays them out."""

from collections.abc import Iterable, Sequence

from crc32c import crc32c

from pybroker.model.ids import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    LeaderEpoch,
    Offset,
    ProducerEpoch,
    ProducerId,
)
from pybroker.records.compression import compress
from pybroker.records.header import (
    COMPRESSION_MASK,
    CONTROL_FLAG,
    CURRENT_MAGIC,
    DELETE_HORIZON_FLAG,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_FLAG,
    TRANSACTIONAL_FLAG,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
)
from pybroker.records.layout import BATCH_HEADER, BATCH_HEADER_BYTES, LOG_OVERHEAD_BYTES, struct_of
from pybroker.records.record import encode_plain_records, encode_record

_pack_outside_crc = struct_of(BATCH_HEADER, last="crc").pack
_pack_inside_crc = struct_of(BATCH_HEADER, first="attributes").pack


class RecordBatchBuilder:
    """Collects records and makes one batch of them.

    Offsets count up from ``base_offset`` unless :meth:`append` is told otherwise; they must grow. With
    ``LOG_APPEND_TIME`` the header's largest timestamp is ``log_append_time_ms``, whatever the records say.
    """

    def __init__(
        self,
        *,
        base_offset: Offset = 0,
        compression: CompressionType = CompressionType.NONE,
        level: int | None = None,
        timestamp_type: TimestampType = TimestampType.CREATE_TIME,
        log_append_time_ms: int = NO_TIMESTAMP,
        producer_id: ProducerId = -1,
        producer_epoch: ProducerEpoch = -1,
        base_sequence: int = NO_SEQUENCE,
        is_transactional: bool = False,
        is_control: bool = False,
        leader_epoch: LeaderEpoch = -1,
        delete_horizon_ms: int | None = None,
    ) -> None:
        self.base_offset = base_offset
        self.compression = compression
        self.level = level
        self.timestamp_type = timestamp_type
        self.log_append_time_ms = log_append_time_ms
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.base_sequence = base_sequence
        self.is_transactional = is_transactional
        self.is_control = is_control
        self.leader_epoch = leader_epoch
        self.delete_horizon_ms = delete_horizon_ms
        self.max_timestamp = NO_TIMESTAMP
        self._base_timestamp = delete_horizon_ms
        self._last_offset_delta = -1
        self._body = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes of the batch so far, before compression."""
        return BATCH_HEADER_BYTES + len(self._body)

    @property
    def next_offset(self) -> Offset:
        """The offset that the next record gets by itself."""
        return self.base_offset + self._last_offset_delta + 1

    def append(
        self,
        key: Buffer | None,
        value: Buffer | None,
        timestamp: int,
        headers: Sequence[tuple[str, bytes | None]] = (),
        *,
        offset: Offset | None = None,
    ) -> Offset:
        """Add one record; returns its offset.

        Raises:
            ValueError: the offset does not grow or is too far from the base, or the timestamp is below -1.
        """
        offset_delta = self._last_offset_delta + 1 if offset is None else offset - self.base_offset
        timestamp_delta = self._timestamp_delta(offset_delta, timestamp)
        self._body += encode_record(timestamp_delta, offset_delta, key, value, headers)
        self._count += 1
        self._last_offset_delta = offset_delta
        return self.base_offset + offset_delta

    def extend(self, records: Sequence[tuple[Buffer | None, Buffer | None]], timestamp: int) -> None:
        """Add keys and values that have one timestamp and no headers; errors as :meth:`append`."""
        if not records:
            return
        last_offset_delta = self._last_offset_delta + len(records)
        timestamp_delta = self._timestamp_delta(last_offset_delta, timestamp)
        self._body += encode_plain_records(timestamp_delta, self._last_offset_delta + 1, records)
        self._count += len(records)
        self._last_offset_delta = last_offset_delta

    def _timestamp_delta(self, offset_delta: int, timestamp: int) -> int:
        """Of what is about to be added, up to that offset delta."""
        if not self._last_offset_delta < offset_delta <= 0x7FFFFFFF:
            raise ValueError(f"offset delta {offset_delta} cannot follow {self._last_offset_delta}")
        if timestamp < NO_TIMESTAMP:
            raise ValueError(f"timestamp {timestamp} is negative")
        if self._base_timestamp is None:
            self._base_timestamp = timestamp
        self.max_timestamp = max(self.max_timestamp, timestamp)
        return timestamp - self._base_timestamp

    def build(self, *, last_offset_delta: int | None = None, max_timestamp: int | None = None) -> bytes:
        """The batch. The arguments override what the records say, as the log cleaner must: it keeps the last
        offset of a batch whose last records it drops, and may leave a batch with no records at all.

        Raises:
            ValueError: there are no records, and no last offset delta was given; or the producer's fields
                do not agree with each other.
        """
        attributes = self._attributes(self.compression if self._body else CompressionType.NONE)
        check_producer(self.producer_id, self.producer_epoch, self.base_sequence, attributes)
        if last_offset_delta is None:
            if not self._count:
                raise ValueError("a batch needs a record")
            last_offset_delta = self._last_offset_delta
        if max_timestamp is None:
            by_broker = self.timestamp_type is TimestampType.LOG_APPEND_TIME
            max_timestamp = self.log_append_time_ms if by_broker else self.max_timestamp
        codec = attributes & COMPRESSION_MASK
        return assemble_batch(
            compress(self.compression, self._body, level=self.level) if codec else self._body,
            base_offset=self.base_offset,
            leader_epoch=self.leader_epoch,
            attributes=attributes,
            last_offset_delta=last_offset_delta,
            base_timestamp=NO_TIMESTAMP if self._base_timestamp is None else self._base_timestamp,
            max_timestamp=max_timestamp,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            base_sequence=self.base_sequence,
            record_count=self._count,
        )

    def _attributes(self, codec: CompressionType) -> int:
        return (
            codec
            | (TIMESTAMP_TYPE_FLAG if self.timestamp_type else 0)
            | (TRANSACTIONAL_FLAG if self.is_transactional else 0)
            | (CONTROL_FLAG if self.is_control else 0)
            | (DELETE_HORIZON_FLAG if self.delete_horizon_ms is not None else 0)
        )


def build_batch(
    records: Iterable[Record],
    *,
    base_offset: Offset | None = None,
    compression: CompressionType = CompressionType.NONE,
    level: int | None = None,
    timestamp_type: TimestampType = TimestampType.CREATE_TIME,
    log_append_time_ms: int = NO_TIMESTAMP,
    producer_id: ProducerId = -1,
    producer_epoch: ProducerEpoch = -1,
    base_sequence: int = NO_SEQUENCE,
    is_transactional: bool = False,
    is_control: bool = False,
    leader_epoch: LeaderEpoch = -1,
) -> bytes:
    """One batch of records that bring their own absolute offsets; by default the first is the base offset.

    Raises:
        ValueError: there are no records, or as :meth:`RecordBatchBuilder.append` raises.
    """
    records = list(records)
    if not records:
        raise ValueError("a batch needs a record")
    builder = RecordBatchBuilder(
        base_offset=records[0].offset if base_offset is None else base_offset,
        compression=compression,
        level=level,
        timestamp_type=timestamp_type,
        log_append_time_ms=log_append_time_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        is_transactional=is_transactional,
        is_control=is_control,
        leader_epoch=leader_epoch,
    )
    for record in records:
        builder.append(record.key, record.value, record.timestamp, record.headers, offset=record.offset)
    return builder.build()


def check_producer(
    producer_id: ProducerId, producer_epoch: ProducerEpoch, base_sequence: int, attributes: int
) -> None:
    """Check that the producer's fields of a batch agree with each other.

    Raises:
        ValueError: they do not.
    """
    if producer_id == NO_PRODUCER_ID:
        if attributes & TRANSACTIONAL_FLAG:
            raise ValueError("a transactional batch needs a producer id")
    elif producer_epoch == NO_PRODUCER_EPOCH:
        raise ValueError("a batch with a producer id needs a producer epoch")
    elif base_sequence < 0 and not attributes & CONTROL_FLAG:
        raise ValueError(f"sequence number {base_sequence} is negative")


def assemble_batch(
    body: Buffer,
    *,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    attributes: int,
    last_offset_delta: int,
    base_timestamp: int,
    max_timestamp: int,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: int,
    record_count: int,
) -> bytes:
    """A header with its CRC, and the records (compressed already, if the attributes say so) behind it."""
    inside = _pack_inside_crc(
        attributes,
        last_offset_delta,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count,
    )
    crc = crc32c(body, crc32c(inside))
    length = BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES + len(body)
    return _pack_outside_crc(base_offset, length, leader_epoch, CURRENT_MAGIC, crc) + inside + bytes(body)
