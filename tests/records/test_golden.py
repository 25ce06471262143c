"""Apache Kafka's Java classes and ours agree about bytes and verdicts."""

import base64
from typing import Any

import pytest

from pybroker.records.batch import (
    CompressionType,
    Record,
    TimestampType,
    crc_is_valid,
    iter_batch_headers,
    iter_records,
    patch_offset_and_epoch,
    read_batch_header,
)
from pybroker.records.builder import build_batch
from pybroker.records.control import (
    ControlRecordType,
    EndTransactionMarker,
    build_end_transaction_marker,
    read_end_transaction_marker,
)
from pybroker.records.downconversion import down_convert
from pybroker.records.errors import InvalidRecords, NothingToAppend
from pybroker.records.legacy import build_message_set, iter_message_set
from pybroker.records.policy import NO_BOUND_MS, Origin, ValidationLevel, ValidationPolicy
from pybroker.records.validation import ValidatedBatch, is_long, validate_produce
from tests.records.golden import golden, golden_records

[_PROVENANCE] = golden("provenance")
_NOW: int = _PROVENANCE["now"]
_CODECS = {codec.name.lower(): codec for codec in CompressionType}
_TIMESTAMP_TYPES = {"CreateTime": TimestampType.CREATE_TIME, "LogAppendTime": TimestampType.LOG_APPEND_TIME}


def _read_all(data: bytes) -> list[Record]:
    if data[16] < 2:
        return list(iter_message_set(data))
    return [
        record
        for position, header in iter_batch_headers(data)
        for record in iter_records(data[position : position + header.size_in_bytes])
    ]


@pytest.mark.parametrize(
    "line",
    list(golden("build")),
    ids=lambda line: f"{line['what']}-{line['magic']}-{line['codec']}-{line['timestamp_type']}",
)
def test_what_kafka_builds_is_read_and_built_again(line: dict[str, Any]) -> None:
    data = base64.b64decode(line["bytes"])
    records = golden_records(line)
    assert _read_all(data) == records
    codec = _CODECS[line["codec"]]
    if line["magic"] < 2:
        ours = build_message_set(
            records,
            line["magic"],
            compression=codec,
            timestamp_type=_TIMESTAMP_TYPES.get(line["timestamp_type"], TimestampType.CREATE_TIME),
            log_append_time_ms=_NOW + 60,
        )
    else:
        header = read_batch_header(data)
        assert crc_is_valid(data)
        assert header.compression is codec
        ours = build_batch(
            _with_create_times(data, records),
            compression=codec,
            timestamp_type=header.timestamp_type,
            log_append_time_ms=header.max_timestamp,
            producer_id=header.producer_id,
            producer_epoch=header.producer_epoch,
            base_sequence=header.base_sequence,
            is_transactional=header.is_transactional,
            leader_epoch=header.leader_epoch,
        )
        assert read_batch_header(ours)._replace(crc=0, batch_length=0) == header._replace(
            crc=0, batch_length=0
        )
    assert _read_all(ours) == records
    if codec is CompressionType.NONE:
        assert ours == data


def _with_create_times(data: bytes, records: list[Record]) -> list[Record]:
    """The producer's times, which records keep under LogAppendTime; read without the flag."""
    plain = bytearray(data)
    plain[22] &= ~0x08
    return [
        record._replace(timestamp=created.timestamp)
        for record, created in zip(records, iter_records(plain), strict=True)
    ]


@pytest.mark.parametrize("line", list(golden("marker")), ids=lambda line: line["type"])
def test_transaction_markers_are_kafkas(line: dict[str, Any]) -> None:
    data = base64.b64decode(line["bytes"])
    marker = EndTransactionMarker(ControlRecordType[line["type"]], 13)
    assert read_end_transaction_marker(data) == marker
    assert data == build_end_transaction_marker(
        marker, producer_id=4242, producer_epoch=6, timestamp_ms=_NOW, base_offset=11, leader_epoch=4
    )


@pytest.mark.parametrize(
    "line", list(golden("down")), ids=lambda line: f"to-{line['to_magic']}-{line['codec']}"
)
def test_down_conversion_is_kafkas(line: dict[str, Any]) -> None:
    source = base64.b64decode(line["source"])
    if "error" in line:
        with pytest.raises(InvalidRecords) as refusal:
            down_convert(source, line["to_magic"], line["first_offset"])
        assert refusal.value.code.name == line["error"]
        return
    ours = down_convert(source, line["to_magic"], line["first_offset"])
    assert list(iter_message_set(ours)) == golden_records(line)
    if line["codec"] == "none":
        assert ours == base64.b64decode(line["bytes"])


def _policy(line: dict[str, Any], level: ValidationLevel = ValidationLevel.FULL) -> ValidationPolicy:
    policy = line["policy"]
    codec = policy["compression"]
    return ValidationPolicy(
        level=level,
        compacted=policy["compacted"],
        timestamp_type=TimestampType(policy["append_time"]),
        before_max_ms=min(policy["before"], NO_BOUND_MS),
        after_max_ms=min(policy["after"], NO_BOUND_MS),
        max_message_bytes=_PROVENANCE["max_message_bytes"],
        compression_type={"producer": None, "uncompressed": CompressionType.NONE}.get(
            codec, _CODECS.get(codec)
        ),
    )


def _validate(line: dict[str, Any], policy: ValidationPolicy) -> ValidatedBatch:
    records = memoryview(bytearray(base64.b64decode(line["input"])))
    assert is_long(records, policy) in (True, False)
    return validate_produce(
        records, policy, _NOW, produce_version=line["version"], origin=Origin(line["origin"])
    )


def _difference(line: dict[str, Any]) -> str | None:
    """How our verdict differs from Kafka's, in words; None when it does not."""
    try:
        validated = _validate(line, _policy(line))
    except NothingToAppend:
        return None if line.get("empty") else "nothing to append"
    except InvalidRecords as refusal:
        if refusal.code.name != line.get("error"):
            return f"refused: {refusal}"
        indexes = [index for index, _ in refusal.record_errors]
        return None if indexes == line.get("record_errors", []) else f"record errors {indexes}"
    if "error" in line or "empty" in line:
        return "accepted"
    assert crc_is_valid(validated.buffer)
    assert validated.header == read_batch_header(validated.buffer)
    if validated.max_timestamp != line["max_timestamp"]:
        return f"max timestamp {validated.max_timestamp}"
    if validated.header.compression is not _CODECS[line["codec"]]:
        return f"codec {validated.header.compression}"
    if line["records"] is not None and _as_java_reads(validated.buffer) != golden_records(line):
        return "other records"
    if "bytes" in line:
        expected = bytearray(base64.b64decode(line["bytes"]))
        patch_offset_and_epoch(validated.buffer, read_batch_header(expected).base_offset, 9)
        if expected != validated.buffer:
            return "other bytes"
    return None


def _as_java_reads(batch: memoryview) -> list[Record]:
    """Records with U+FFFD where the name of a header is no UTF-8."""
    return [
        record._replace(
            headers=tuple(
                (name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), content)
                for name, content in record.headers
            )
        )
        for record in iter_records(batch)
    ]


def _is_wanted_difference(line: dict[str, Any]) -> bool:
    """Where we mean to differ: Kafka stores what consumers choke on, or answers with a stray exception."""
    name: str = line["name"]
    compressed = not name.endswith(" none")
    if name.startswith(("length beyond ", "length 2 GB ")):
        return compressed  # Kafka believes a length that its fields belie, or runs out of memory over it.
    if name == "length of 6 bytes none":
        return True  # INVALID_RECORD as for every other bad number; Kafka: UNKNOWN_SERVER_ERROR.
    if name.startswith(("attributes set ", "wide varints ")):
        # Under another codec our records keep their encoding; Kafka writes it anew, to the same effect.
        return line["policy"]["compression"] == "uncompressed"
    # Compressed again, a header name keeps bytes that are no UTF-8; Kafka replaces them by U+FFFD.
    return name.startswith("header of odd bytes ") and line["policy"]["compression"] == "uncompressed"


def test_every_verdict_at_the_level_full_is_kafkas() -> None:
    differences = [
        f"{line['name']} {line['policy']}: {difference}, Kafka: {line.get('error')} {line.get('why')}"
        for line in golden("verdict")
        if not _is_wanted_difference(line) and (difference := _difference(line)) is not None
    ]
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("level", [ValidationLevel.HEADER, ValidationLevel.STRUCTURE])
def test_a_shallower_level_refuses_less_and_with_the_same_code(level: ValidationLevel) -> None:
    refusals = 0
    for line in golden("verdict"):
        try:
            shallow = _validate(line, _policy(line, level)).buffer
        except InvalidRecords as refusal:
            refusals += 1
            with pytest.raises(InvalidRecords) as full:
                _validate(line, _policy(line))
            assert full.value.code is refusal.code, line["name"]
        else:
            assert crc_is_valid(shallow)
    assert refusals > 100


def test_the_structure_level_notices_every_lie_about_counts_and_sizes() -> None:
    lies = ("count and delta", "missing", "extra", "length", "negative length", "zero length", "short length")
    for line in golden("verdict"):
        if line["name"].startswith(lies) and line["version"] == 9:
            with pytest.raises(InvalidRecords):
                _validate(line, _policy(line, ValidationLevel.STRUCTURE))
