"""kafka-python and aiokafka read what we write, and we read what they write.

Neither has lz4 in magic 0 without another package; Kafka's own bytes of it are in test_golden.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import aiokafka.record.default_records
import aiokafka.record.legacy_records
import aiokafka.record.memory_records
import kafka.record.default_records
import kafka.record.legacy_records
import kafka.record.memory_records
import pytest

from pybroker.records.batch import CompressionType, Record, iter_batch_headers, iter_records
from pybroker.records.builder import build_batch
from pybroker.records.legacy import build_message_set, iter_message_set
from pybroker.records.policy import ValidationLevel, ValidationPolicy
from pybroker.records.validation import validate_produce
from tests.records.samples import CODECS, LEGACY_CODECS, NOW, PLAIN_SAMPLE, SAMPLE

_BIG = [*SAMPLE, Record(6, NOW, b"big", bytes(range(256)) * 600)]
_BIG_PLAIN = [record._replace(headers=()) for record in _BIG]

_LIBRARIES = [
    pytest.param(
        kafka.record.memory_records,
        kafka.record.default_records,
        kafka.record.legacy_records,
        id="kafka-python",
    ),
    pytest.param(
        aiokafka.record.memory_records,
        aiokafka.record.default_records,
        aiokafka.record.legacy_records,
        id="aiokafka",
    ),
]


def _read(memory: ModuleType, data: bytes) -> list[Record]:
    records = memory.MemoryRecords(data)
    found = []
    while (batch := records.next_batch()) is not None:
        assert batch.validate_crc()
        found += [
            Record(
                record.offset,
                -1 if record.timestamp is None else record.timestamp,
                None if record.key is None else bytes(record.key),
                None if record.value is None else bytes(record.value),
                tuple((name, content) for name, content in record.headers),
            )
            for record in batch
        ]
    return found


def _written(builder: Any, records: list[Record], **more: Callable[[Record], Any]) -> bytes:
    for record in records:
        extra = {name: value(record) for name, value in more.items()}
        assert builder.append(
            record.offset, timestamp=record.timestamp, key=record.key, value=record.value, **extra
        )
    return bytes(builder.build())


@pytest.mark.parametrize(("memory", "default", "legacy"), _LIBRARIES)
@pytest.mark.parametrize("codec", CODECS)
def test_batches_of_magic_2(
    memory: ModuleType, default: ModuleType, legacy: ModuleType, codec: CompressionType
) -> None:
    assert _read(memory, build_batch(_BIG, compression=codec)) == _BIG
    builder = default.DefaultRecordBatchBuilder(
        magic=2,
        compression_type=int(codec),
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000_000,
    )
    theirs = _written(builder, _BIG, headers=lambda record: list(record.headers))
    [(_, header)] = iter_batch_headers(theirs)
    assert header.compression in (codec, CompressionType.NONE)
    assert list(iter_records(theirs)) == _BIG
    for level in ValidationLevel:
        validated = validate_produce(theirs, ValidationPolicy(level=level), NOW)
        assert validated.record_count == len(_BIG)


@pytest.mark.parametrize(("memory", "default", "legacy"), _LIBRARIES)
@pytest.mark.parametrize(
    ("magic", "codec"),
    [
        (magic, codec)
        for magic in (0, 1)
        for codec in LEGACY_CODECS
        if (magic, codec) != (0, CompressionType.LZ4)
    ],
)
def test_message_sets_of_magic_0_and_1(
    memory: ModuleType, default: ModuleType, legacy: ModuleType, codec: CompressionType, magic: int
) -> None:
    expected = [record._replace(timestamp=record.timestamp if magic else -1) for record in _BIG_PLAIN]
    assert _read(memory, build_message_set(_BIG_PLAIN, magic, compression=codec)) == expected
    builder = legacy.LegacyRecordBatchBuilder(magic=magic, compression_type=int(codec), batch_size=10_000_000)
    theirs = _written(builder, _BIG_PLAIN)
    assert list(iter_message_set(theirs)) == expected
    validated = validate_produce(theirs, ValidationPolicy(), NOW, produce_version=2)
    assert list(iter_records(validated.buffer)) == expected


def test_the_plain_sample_has_what_old_formats_can_say() -> None:
    assert all(record.headers == () for record in PLAIN_SAMPLE)
