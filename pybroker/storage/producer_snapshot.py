"""The ``.snapshot`` file: the producers of a partition up to the offset that is the file's name.

int16 version 1, uint32 CRC-32C of everything after it, int32 count, then the producers. Of the remembered
batches only the last one is kept, as in Kafka.
"""

from collections.abc import Iterable
from struct import Struct
from struct import error as struct_error

from crc32c import crc32c

from pybroker.records.header import NO_SEQUENCE, decrement_sequence
from pybroker.storage.errors import CorruptFile
from pybroker.storage.producer_state import ProducerEntry, RememberedBatch

VERSION = 1
_HEADER = Struct(">hI")
_COUNT = Struct(">i")
_ENTRY = Struct(">qhiqiqiq")


def encode_snapshot(entries: Iterable[ProducerEntry]) -> bytes:
    """The whole file."""
    body = [
        _ENTRY.pack(
            entry.producer_id,
            entry.producer_epoch,
            entry.last_sequence,
            entry.last_offset,
            entry.last_offset_delta,
            entry.last_timestamp,
            entry.coordinator_epoch,
            entry.txn_first_offset,
        )
        for entry in entries
    ]
    payload = _COUNT.pack(len(body)) + b"".join(body)
    return _HEADER.pack(VERSION, crc32c(payload)) + payload


def decode_snapshot(data: bytes) -> list[ProducerEntry]:
    """Reads a file.

    Raises:
        CorruptFile: another version, a wrong CRC or a wrong length.
    """
    try:
        version, crc = _HEADER.unpack_from(data)
        (count,) = _COUNT.unpack_from(data, _HEADER.size)
    except struct_error as error:
        raise CorruptFile("the producer snapshot is too short") from error
    if version != VERSION:
        raise CorruptFile(f"the producer snapshot has version {version}")
    payload = memoryview(data)[_HEADER.size :]
    if crc32c(payload) != crc:
        raise CorruptFile("the producer snapshot's CRC is wrong")
    if len(payload) != _COUNT.size + count * _ENTRY.size:
        raise CorruptFile(f"the producer snapshot of {count} producers has {len(data)} bytes")
    return [_entry(*fields) for fields in _ENTRY.iter_unpack(payload[_COUNT.size :])]


def _entry(
    producer_id: int,
    epoch: int,
    last_sequence: int,
    last_offset: int,
    offset_delta: int,
    timestamp: int,
    coordinator_epoch: int,
    txn_first_offset: int,
) -> ProducerEntry:
    batches = []
    if last_offset >= 0:
        first = NO_SEQUENCE if last_sequence < 0 else decrement_sequence(last_sequence, offset_delta)
        batches.append(RememberedBatch(first, last_sequence, last_offset, offset_delta, timestamp))
    return ProducerEntry(
        producer_id,
        epoch,
        coordinator_epoch=coordinator_epoch,
        last_timestamp=timestamp,
        txn_first_offset=txn_first_offset,
        batches=batches,
    )
