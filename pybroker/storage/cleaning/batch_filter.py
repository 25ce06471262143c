"""Which batches and records survive a clean, and what a batch looks like that has lost some.

A batch keeps its base offset, last offset, producer, sequence, epochs and codec whatever it loses, so that
offsets stay and a producer's last sequence is known. Records that stay are copied as they are.
Source: ``Cleaner.cleanInto`` and ``MemoryRecords.filterTo`` of Kafka 3.9; delete horizons are KIP-534.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pybroker.model.ids import Offset, ProducerEpoch, ProducerId
from pybroker.model.values import State, Value
from pybroker.records.batch import scan_batch, to_int64
from pybroker.records.builder import assemble_batch
from pybroker.records.compression import DEFAULT_CEILING_BYTES, compress
from pybroker.records.header import (
    COMPRESSION_MASK,
    CONTROL_FLAG,
    DELETE_HORIZON_FLAG,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_FLAG,
    TRANSACTIONAL_FLAG,
    BatchHeader,
    Buffer,
    CompressionType,
    Record,
    TimestampType,
)
from pybroker.records.layout import BATCH_HEADER_BYTES
from pybroker.records.legacy import build_message_set, read_message, records_of
from pybroker.records.record import Fields
from pybroker.records.varint import decode_varint, encode_varint
from pybroker.storage.cleaning.offset_map import OffsetMap
from pybroker.storage.cleaning.transactions import TransactionsSeen


class LastWrite(NamedTuple):
    """A producer's last data record (-1 when none is remembered) and its epoch."""

    last_offset: Offset
    producer_epoch: ProducerEpoch


class KeptBatch(NamedTuple):
    """What is left of a batch."""

    data: Buffer
    last_offset: Offset
    max_timestamp: int
    records: int


class CleanStats(State):
    """What a clean has read and written so far."""

    records_read: int = 0
    bytes_read: int = 0
    records_kept: int = 0
    bytes_kept: int = 0
    without_key: int = 0
    """Records dropped because they have no key."""


class _Retained(Value):
    """The records of a batch that stay, as (the bytes that hold it, start, fields)."""

    records: list[tuple[Buffer, int, Fields]]
    is_whole: bool
    has_tombstones: bool


class BatchFilter(Value):
    """Goes through a log's batches in order; knows the latest offset of each key."""

    offsets: OffsetMap
    transactions: TransactionsSeen
    last_writes: Mapping[ProducerId, LastWrite]
    now_ms: int
    delete_retention_ms: int
    stats: CleanStats

    def filter(self, header: BatchHeader, batch: bytes, *, keeps_legacy_deletes: bool) -> KeptBatch | None:
        """What is left of a whole batch or old message; None when nothing is.

        Args:
            keeps_legacy_deletes: whether tombstones of formats without a delete horizon stay.

        Raises:
            InvalidRecords: the batch is damaged.
        """
        self.stats.bytes_read += len(batch)
        if header.magic < 2:
            kept = self._filter_legacy(header, batch, keeps_legacy_deletes)
        else:
            kept = self._filter(header, batch)
        if kept is not None:
            self.stats.bytes_kept += len(kept.data)
            self.stats.records_kept += kept.records
        return kept

    def _filter(self, header: BatchHeader, batch: bytes) -> KeptBatch | None:
        self.stats.records_read += max(0, header.record_count)
        is_worthless = self.transactions.see(header, batch)
        horizon = header.delete_horizon_ms
        if header.is_control:
            drops_all = is_worthless and horizon is not None and horizon <= self.now_ms
        else:
            drops_all = is_worthless
        is_needed = header.producer_id >= 0 and self._is_last_of_producer(header)
        if drops_all:
            return _emptied(header) if is_needed else None
        retained = self._retained(header, batch)
        if not retained.records:
            return _emptied(header) if is_needed else None
        expires = retained.has_tombstones or (is_worthless and header.is_control)
        new_horizon = self.now_ms + self.delete_retention_ms if expires and horizon is None else None
        if retained.is_whole and new_horizon is None:
            return KeptBatch(batch, header.last_offset, header.max_timestamp, header.record_count)
        return _rebuilt(header, retained, new_horizon)

    def _is_last_of_producer(self, header: BatchHeader) -> bool:
        """Whether the batch alone tells a producer's last sequence, or its epoch."""
        last = self.last_writes.get(header.producer_id)
        if last is None:
            return False
        if last.last_offset >= 0:
            return header.last_offset == last.last_offset
        return header.is_control and header.producer_epoch == last.producer_epoch

    def _retained(self, header: BatchHeader, batch: bytes) -> _Retained:
        deletes_stay = header.delete_horizon_ms is None or self.now_ms < header.delete_horizon_ms
        keeps_all = header.is_control
        stays = self._stays
        kept = []
        has_tombstones = is_lossy = False
        for buffer, start, fields in _scan(header, batch):
            has_value = fields.value_size >= 0
            if keeps_all:
                kept.append((buffer, start, fields))
                continue
            key_at = fields.key_at
            key = None if fields.key_size < 0 else bytes(buffer[key_at : key_at + fields.key_size])
            if stays(header.base_offset + fields.offset_delta, key, has_value or deletes_stay):
                kept.append((buffer, start, fields))
                has_tombstones |= not has_value
            else:
                is_lossy = True
        return _Retained(kept, not is_lossy, has_tombstones)

    def _stays(self, offset: Offset, key: bytes | None, may_stay: bool) -> bool:
        if offset > self.offsets.latest_offset:
            return True
        if key is None:
            self.stats.without_key += 1
            return False
        return offset >= self.offsets.get(key) and may_stay

    def _filter_legacy(self, header: BatchHeader, batch: bytes, keeps_deletes: bool) -> KeptBatch | None:
        message = read_message(batch, 0, len(batch))
        records = list(records_of(message))
        self.stats.records_read += len(records)
        kept = [
            record
            for record in records
            if self._stays(record.offset, record.key, record.value is not None or keeps_deletes)
        ]
        if not kept:
            return None
        if len(kept) == len(records):
            return KeptBatch(batch, header.last_offset, header.max_timestamp, len(kept))
        return _rebuilt_legacy(header, CompressionType(message.compression_id), kept)


def keys_of(header: BatchHeader, batch: bytes) -> Iterator[tuple[Offset, bytes | None]]:
    """Offset and key of every record of a whole batch or old message.

    Raises:
        InvalidRecords: it is damaged.
    """
    if header.magic < 2:
        for record in records_of(read_message(batch, 0, len(batch))):
            yield record.offset, record.key
        return
    for buffer, fields in scan_batch(batch, header, DEFAULT_CEILING_BYTES):
        key_at = fields.key_at
        key = None if fields.key_size < 0 else bytes(buffer[key_at : key_at + fields.key_size])
        yield header.base_offset + fields.offset_delta, key


def _scan(header: BatchHeader, batch: bytes) -> Iterator[tuple[Buffer, int, Fields]]:
    """The records with their starts: each begins where the one before it in the same buffer ends."""
    known: Buffer | None = None
    end = 0 if header.compression_id else BATCH_HEADER_BYTES
    for buffer, fields in scan_batch(batch, header, DEFAULT_CEILING_BYTES):
        start = end if known is None or buffer is known else 0
        known, end = buffer, fields.end
        yield buffer, start, fields


def _rebuilt(header: BatchHeader, retained: _Retained, new_horizon_ms: int | None) -> KeptBatch:
    """The batch with fewer records, and a delete horizon if it gets one: that takes the place of the base
    timestamp, so all deltas change."""
    attributes, base_timestamp = header.attributes, header.base_timestamp
    if new_horizon_ms is None:
        parts = [bytes(buffer[start : fields.end]) for buffer, start, fields in retained.records]
    else:
        shift = base_timestamp - new_horizon_ms
        parts = [_shifted(buffer, start, fields, shift) for buffer, start, fields in retained.records]
        attributes |= DELETE_HORIZON_FLAG
    max_timestamp = header.max_timestamp
    if header.timestamp_type is TimestampType.CREATE_TIME:
        max_timestamp = max(
            to_int64(base_timestamp + fields.timestamp_delta) for _buffer, _start, fields in retained.records
        )
    body = b"".join(parts)
    codec = CompressionType(attributes & COMPRESSION_MASK)
    data = _with_header(
        header,
        compress(codec, body) if codec else body,
        attributes=attributes,
        base_timestamp=base_timestamp if new_horizon_ms is None else new_horizon_ms,
        max_timestamp=max_timestamp,
        record_count=len(parts),
    )
    return KeptBatch(data, header.last_offset, max_timestamp, len(parts))


def _shifted(buffer: Buffer, start: int, fields: Fields, shift: int) -> bytes:
    """A record whose timestamp delta is ``shift`` larger."""
    _length, attributes_at = decode_varint(buffer, start)
    _delta, rest_at = decode_varint(buffer, attributes_at + 1, 10)
    delta = encode_varint(to_int64(fields.timestamp_delta + shift))
    body = bytes(buffer[attributes_at : attributes_at + 1]) + delta + bytes(buffer[rest_at : fields.end])
    return encode_varint(len(body)) + body


def _emptied(header: BatchHeader) -> KeptBatch:
    """The batch without any record, which keeps what is known of its producer."""
    kept_flags = TIMESTAMP_TYPE_FLAG | TRANSACTIONAL_FLAG | CONTROL_FLAG
    data = _with_header(
        header,
        b"",
        attributes=header.attributes & kept_flags,
        base_timestamp=NO_TIMESTAMP,
        max_timestamp=header.max_timestamp,
        record_count=0,
    )
    return KeptBatch(data, header.last_offset, header.max_timestamp, 0)


def _with_header(
    header: BatchHeader,
    body: bytes,
    *,
    attributes: int,
    base_timestamp: int,
    max_timestamp: int,
    record_count: int,
) -> bytes:
    return assemble_batch(
        body,
        base_offset=header.base_offset,
        leader_epoch=header.leader_epoch,
        attributes=attributes,
        last_offset_delta=header.last_offset_delta,
        base_timestamp=base_timestamp,
        max_timestamp=max_timestamp,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        record_count=record_count,
    )


def _rebuilt_legacy(header: BatchHeader, codec: CompressionType, kept: list[Record]) -> KeptBatch:
    """A wrapper with fewer messages; its offset is that of the last one left."""
    data = build_message_set(
        kept,
        header.magic,
        compression=codec,
        timestamp_type=header.timestamp_type,
        log_append_time_ms=header.max_timestamp,
    )
    by_broker = header.timestamp_type is TimestampType.LOG_APPEND_TIME
    latest = header.max_timestamp if by_broker else max(record.timestamp for record in kept)
    return KeptBatch(data, kept[-1].offset, latest, len(kept))
