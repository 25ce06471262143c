"""The fixed part of a record batch of magic 2: reading it, walking from batch to batch, its CRC, its patches.

Source: Kafka's ``DefaultRecordBatch``. Buffers may be bytes, bytearray or memoryview; they are never copied,
and changed only by the functions whose name says so.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, TypeAlias

from crc32c import crc32c

from pybroker.model.errors import ErrorCode
from pybroker.model.ids import LeaderEpoch, Offset, ProducerEpoch, ProducerId
from pybroker.records.errors import InvalidRecords
from pybroker.records.layout import (
    ATTRIBUTES_POSITION,
    BATCH_HEADER,
    BATCH_HEADER_BYTES,
    CRC_POSITION,
    LEADER_EPOCH_POSITION,
    LOG_OVERHEAD_BYTES,
    MAGIC_POSITION,
    MAX_TIMESTAMP_POSITION,
    struct_of,
)

Buffer: TypeAlias = bytes | bytearray | memoryview

NO_TIMESTAMP = -1
NO_SEQUENCE = -1
CURRENT_MAGIC = 2
MAX_SEQUENCE = 0x7FFFFFFF
MIN_MESSAGE_BYTES = 14
"""The smallest size field of any format: a magic 0 message with neither key nor value."""

COMPRESSION_MASK = 0x07
TIMESTAMP_TYPE_FLAG = 0x08
TRANSACTIONAL_FLAG = 0x10
CONTROL_FLAG = 0x20
DELETE_HORIZON_FLAG = 0x40
_KEPT_ATTRIBUTES = COMPRESSION_MASK | TRANSACTIONAL_FLAG | CONTROL_FLAG | DELETE_HORIZON_FLAG
_MAX_SIZE = 0x7FFFFFFF - LOG_OVERHEAD_BYTES

_unpack_header = struct_of(BATCH_HEADER).unpack_from
_unpack_size = struct_of(BATCH_HEADER, first="batch_length", last="batch_length").unpack_from
_CRC: Struct = struct_of(BATCH_HEADER, first="crc", last="crc")
_BASE_OFFSET: Struct = struct_of(BATCH_HEADER, first="base_offset", last="base_offset")
_LEADER_EPOCH: Struct = struct_of(BATCH_HEADER, first="leader_epoch", last="leader_epoch")
_ATTRIBUTES: Struct = struct_of(BATCH_HEADER, first="attributes", last="attributes")
_MAX_TIMESTAMP: Struct = struct_of(BATCH_HEADER, first="max_timestamp", last="max_timestamp")
_new = tuple.__new__


class CompressionType(IntEnum):
    """Codec ids as the attributes carry them; names in lower case are Kafka's."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class TimestampType(IntEnum):
    """Who set the timestamps: the producer, or the broker when it appended."""

    CREATE_TIME = 0
    LOG_APPEND_TIME = 1


_TIMESTAMP_TYPES = (TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME)


class BatchHeader(NamedTuple):
    """The fixed part of a magic 2 batch, fields in wire order. A named tuple, for one is made per append."""

    base_offset: Offset
    batch_length: int
    leader_epoch: LeaderEpoch
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: ProducerId
    producer_epoch: ProducerEpoch
    base_sequence: int
    record_count: int

    @property
    def size_in_bytes(self) -> int:
        """Bytes of the whole batch, from its base offset to its end."""
        return LOG_OVERHEAD_BYTES + self.batch_length

    @property
    def last_offset(self) -> Offset:
        """Offset of the last record (inclusive)."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> Offset:
        """Offset that follows the batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last record, -1 without a producer. Wraps from 2^31-1 to 0."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return increment_sequence(self.base_sequence, self.last_offset_delta)

    @property
    def compression_id(self) -> int:
        """The raw codec number, 0 to 7; 5 to 7 mean nothing."""
        return self.attributes & COMPRESSION_MASK

    @property
    def compression(self) -> CompressionType:
        """The codec.

        Raises:
            ValueError: no such codec (5 to 7).
        """
        return CompressionType(self.attributes & COMPRESSION_MASK)

    @property
    def timestamp_type(self) -> TimestampType:
        """Whether timestamps are the producer's or the broker's."""
        return _TIMESTAMP_TYPES[self.attributes >> 3 & 1]

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction (its marker does too)."""
        return self.attributes & TRANSACTIONAL_FLAG != 0

    @property
    def is_control(self) -> bool:
        """Whether the records are markers, which consumers never see."""
        return self.attributes & CONTROL_FLAG != 0

    @property
    def has_producer(self) -> bool:
        """Whether an idempotent or transactional producer wrote it."""
        return self.producer_id >= 0

    @property
    def delete_horizon_ms(self) -> int | None:
        """When the cleaner may drop its tombstones and markers; it then stands in ``base_timestamp``."""
        return self.base_timestamp if self.attributes & DELETE_HORIZON_FLAG else None


class Record(NamedTuple):
    """One record, with absolute offset and timestamp. Header names keep odd bytes (surrogateescape)."""

    offset: Offset
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def increment_sequence(sequence: int, increment: int) -> int:
    """Add to a sequence number; after 2^31-1 comes 0."""
    return (sequence + increment) & MAX_SEQUENCE


def decrement_sequence(sequence: int, decrement: int) -> int:
    """Take from a sequence number; before 0 stands 2^31-1."""
    return (sequence - decrement) & MAX_SEQUENCE


def read_batch_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """Read the header at a position. Only its presence is checked, nothing that it says.

    Raises:
        InvalidRecords: fewer than 61 bytes are left (``CORRUPT_MESSAGE``).
    """
    if len(buffer) - position < BATCH_HEADER_BYTES:
        raise InvalidRecords(
            ErrorCode.CORRUPT_MESSAGE, f"{len(buffer) - position} bytes are too few for a record batch"
        )
    return _new(BatchHeader, _unpack_header(buffer, position))


def next_batch_size(buffer: Buffer, position: int) -> int | None:
    """Bytes of the batch or old message (any magic) at a position; None when the buffer ends before it does.

    Source: Kafka's ``ByteBufferLogInputStream``.

    Raises:
        InvalidRecords: the size is too small for any format or the magic is unknown (``CORRUPT_MESSAGE``), or
            the size overflows Java's integers (``UNKNOWN_SERVER_ERROR``).
    """
    left = len(buffer) - position
    if left < LOG_OVERHEAD_BYTES:
        return None
    size: int = _unpack_size(buffer, position + 8)[0]
    if size < MIN_MESSAGE_BYTES:
        raise InvalidRecords(
            ErrorCode.CORRUPT_MESSAGE,
            f"Record size {size} is less than the minimum record overhead ({MIN_MESSAGE_BYTES})",
        )
    if left <= MAGIC_POSITION:
        return None
    magic = buffer[position + MAGIC_POSITION]
    if magic > CURRENT_MAGIC:
        signed = magic if magic < 0x80 else magic - 0x100
        raise InvalidRecords(ErrorCode.CORRUPT_MESSAGE, f"Invalid magic found in record: {signed}")
    if size > _MAX_SIZE:
        raise InvalidRecords(ErrorCode.UNKNOWN_SERVER_ERROR, f"record size {size} is impossible")
    size += LOG_OVERHEAD_BYTES
    return size if size <= left else None


def iter_batch_headers(buffer: Buffer, position: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """Walk the complete magic 2 batches of a buffer as (position, header); a cut last batch is left out.

    Raises:
        InvalidRecords: a size is impossible or the magic is not 2 (``CORRUPT_MESSAGE``).
    """
    while (size := next_batch_size(buffer, position)) is not None:
        if size < BATCH_HEADER_BYTES or buffer[position + MAGIC_POSITION] != CURRENT_MAGIC:
            raise InvalidRecords(ErrorCode.CORRUPT_MESSAGE, f"no batch of magic 2 at position {position}")
        yield position, _new(BatchHeader, _unpack_header(buffer, position))
        position += size


def is_transactional(batch: Buffer) -> bool:
    """Whether the first of some batches is of magic 2 and belongs to a transaction; also for broken bytes."""
    return (
        len(batch) >= BATCH_HEADER_BYTES
        and batch[MAGIC_POSITION] == CURRENT_MAGIC
        and bool(batch[ATTRIBUTES_POSITION + 1] & TRANSACTIONAL_FLAG)
    )


def compute_crc(batch: Buffer) -> int:
    """CRC-32C of one whole magic 2 batch: of everything from its attributes to the end of the buffer."""
    value: int = crc32c(memoryview(batch)[ATTRIBUTES_POSITION:])
    return value


def crc_is_valid(batch: Buffer) -> bool:
    """Whether one whole magic 2 batch (the buffer ends where it ends) has the CRC that its header claims."""
    return len(batch) >= BATCH_HEADER_BYTES and compute_crc(batch) == _CRC.unpack_from(batch, CRC_POSITION)[0]


def patch_offset_and_epoch(
    batch: bytearray | memoryview, base_offset: Offset, leader_epoch: LeaderEpoch, position: int = 0
) -> None:
    """Write the two fields that the leader assigns; they are outside the CRC."""
    _BASE_OFFSET.pack_into(batch, position, base_offset)
    _LEADER_EPOCH.pack_into(batch, position + LEADER_EPOCH_POSITION, leader_epoch)


def patch_max_timestamp(
    batch: bytearray | memoryview, timestamp_type: TimestampType, max_timestamp: int
) -> None:
    """Write the largest timestamp and its type into one whole batch, and the CRC that covers them."""
    (attributes,) = _ATTRIBUTES.unpack_from(batch, ATTRIBUTES_POSITION)
    attributes = attributes & _KEPT_ATTRIBUTES | (TIMESTAMP_TYPE_FLAG if timestamp_type else 0)
    _ATTRIBUTES.pack_into(batch, ATTRIBUTES_POSITION, attributes)
    _MAX_TIMESTAMP.pack_into(batch, MAX_TIMESTAMP_POSITION, max_timestamp)
    _CRC.pack_into(batch, CRC_POSITION, compute_crc(batch))
