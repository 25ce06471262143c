"""Record batches, right and wrong, in all three formats."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from pybroker.records.builder import assemble_batch
from pybroker.records.compression import compress
from pybroker.records.header import CompressionType, Record
from pybroker.records.legacy import build_message, build_message_set
from pybroker.records.record import encode_record

TIME_MS = 1_700_000_000_000
"""Of the first record of every batch; the servers keep records of any age."""

FAR_FUTURE_MS = 4_102_444_800_000
_COUNT = 3


class Sample(Struct, frozen=True):
    """Records for one partition of a Produce request."""

    label: str
    records: bytes
    is_wrong: bool


def body(count: int = _COUNT, *, first_delta: int = 0) -> bytes:
    """Records of magic 2, a minute apart, the last one with a null key and a header."""
    return b"".join(
        encode_record(
            60_000 * index,
            first_delta + index,
            None if index == count - 1 else b"key%d" % index,
            b"value%d" % index,
            (("name", b"content"), ("empty", None)) if index == count - 1 else (),
        )
        for index in range(count)
    )


def batch(records: bytes | None = None, count: int = _COUNT, **header: Any) -> bytes:
    """A batch of ``count`` records; what ``header`` names is written as it stands, right or wrong."""
    fields: dict[str, Any] = {
        "base_offset": 0,
        "leader_epoch": -1,
        "attributes": 0,
        "last_offset_delta": count - 1,
        "base_timestamp": TIME_MS,
        "max_timestamp": TIME_MS + 60_000 * (count - 1),
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        "record_count": count,
    }
    return assemble_batch(body(count) if records is None else records, **{**fields, **header})


def compressed(codec: CompressionType) -> bytes:
    return batch(compress(codec, body()), attributes=int(codec))


def producer_batch(producer_id: int, epoch: int, sequence: int, count: int = 1, **header: Any) -> bytes:
    """A batch of an idempotent producer."""
    return batch(count=count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, **header)


def patched(data: bytes, position: int, content: bytes) -> bytes:
    """The bytes with some of them overwritten; the CRC stays what it was."""
    return data[:position] + content + data[position + len(content) :]


def samples() -> list[Sample]:
    """All of them, in a fixed order."""
    return [*_right(), *_old_formats(), *_wrong_headers(), *_wrong_bytes(), *_wrong_records()]


def trusted_samples() -> list[Sample]:
    """Wrong inside of a record, or a timestamp that is not the largest inside: only full validation looks.
    The log rolls by such timestamps, so that they would make a difference to what follows."""
    wrong: dict[str, bytes] = {
        "max timestamp too small": batch(max_timestamp=TIME_MS),
        "max timestamp too large": batch(max_timestamp=TIME_MS + 10**9),
        "header count negative": batch(b"\x0c\x00\x00\x00\x01\x01\x01", count=1),
        "header without key": batch(b"\x10\x00\x00\x00\x01\x01\x02\x01\x01", count=1),
    }
    return [Sample(label, data, is_wrong=True) for label, data in wrong.items()]


def few_samples() -> list[Sample]:
    """The ones that a quick run takes."""
    return samples()[::4]


def _right() -> Iterator[Sample]:
    good: dict[str, bytes] = {
        "three records": batch(),
        "one record": batch(count=1),
        "an offset of its own": batch(base_offset=77),
        "a leader epoch of its own": batch(leader_epoch=12),
        "no timestamps": batch(encode_record(0, 0, b"k", b"v"), count=1, base_timestamp=-1, max_timestamp=-1),
        "empty key and value": batch(encode_record(0, 0, b"", b""), count=1),
        "null key and value": batch(encode_record(0, 0, None, None), count=1),
        **{f"compressed with {codec.name}": compressed(codec) for codec in CompressionType if codec},
    }
    yield from (Sample(label, data, is_wrong=False) for label, data in good.items())


def _old_records() -> list[Record]:
    return [
        Record(offset=index, timestamp=TIME_MS + index, key=b"k%d" % index, value=b"v%d" % index, headers=())
        for index in range(_COUNT)
    ]


def _old_formats() -> Iterator[Sample]:
    for magic in (0, 1):
        for codec in (
            CompressionType.NONE,
            CompressionType.GZIP,
            CompressionType.SNAPPY,
            CompressionType.LZ4,
        ):
            data = build_message_set(_old_records(), magic, compression=codec)
            yield Sample(f"magic {magic}, {codec.name}", data, is_wrong=False)
        message = build_message(magic, 0, TIME_MS, b"key", b"value")
        yield Sample(f"magic {magic}, wrong CRC", patched(message, 12, b"\x00\x01\x02\x03"), is_wrong=True)
        yield Sample(f"magic {magic}, cut", message[:-2], is_wrong=True)
        yield Sample(
            f"magic {magic}, unknown codec", build_message(magic, 0, TIME_MS, None, b"v", 7), is_wrong=True
        )
        yield Sample(f"magic {magic}, then magic 2", message + batch(), is_wrong=True)
        empty = build_message(magic, 0, TIME_MS, None, compress(CompressionType.GZIP, b""), 1)
        yield Sample(f"magic {magic}, empty wrapper", empty, is_wrong=True)
        torn = build_message(magic, 0, TIME_MS, None, b"no gzip", 1)
        yield Sample(f"magic {magic}, torn wrapper", torn, is_wrong=True)
    yield Sample("magic 1, no timestamp", build_message(1, 0, -1, b"k", b"v"), is_wrong=False)
    yield Sample("magic 1, append time", build_message(1, 0, TIME_MS, b"k", b"v", 8), is_wrong=True)


def _wrong_headers() -> Iterator[Sample]:
    wrong: dict[str, dict[str, Any]] = {
        "count too small": {"record_count": 2},
        "count too large": {"record_count": 4},
        "count zero": {"record_count": 0},
        "count negative": {"record_count": -1},
        "count huge": {"record_count": 2**31 - 1},
        "last offset delta too small": {"last_offset_delta": 1},
        "last offset delta too large": {"last_offset_delta": 3},
        "last offset delta negative": {"last_offset_delta": -1},
        "count and delta too large": {"record_count": 4, "last_offset_delta": 3},
        "count and delta too small": {"record_count": 2, "last_offset_delta": 1},
        "base offset negative": {"base_offset": -5},
        "append time set by the client": {"attributes": 8},
        "control batch": {"attributes": 32},
        "transactional without producer": {"attributes": 16},
        "transactional control batch": {
            "attributes": 48, "producer_id": 5, "producer_epoch": 0, "base_sequence": 0,
        },
        "delete horizon": {"attributes": 64},
        "unused attribute": {"attributes": 128},
        "unknown codec 5": {"attributes": 5},
        "unknown codec 7": {"attributes": 7},
        "says gzip and is not": {"attributes": 1},
        "says snappy and is not": {"attributes": 2},
        "says lz4 and is not": {"attributes": 3},
        "says zstd and is not": {"attributes": 4},
        "producer without epoch": {"producer_id": 5},
        "producer without sequence": {"producer_id": 5, "producer_epoch": 0},
        "sequence without producer": {"base_sequence": 3},
        "epoch without producer": {"producer_epoch": 3},
        "negative sequence": {"producer_id": 5, "producer_epoch": 0, "base_sequence": -2},
        "negative epoch": {"producer_id": 5, "producer_epoch": -2, "base_sequence": 0},
        "negative producer": {"producer_id": -7, "producer_epoch": 0, "base_sequence": 0},
        "unknown producer in the middle": {"producer_id": 991, "producer_epoch": 0, "base_sequence": 9},
    }  # fmt: skip
    yield from (Sample(label, batch(**header), is_wrong=True) for label, header in wrong.items())
    yield Sample(
        "timestamp in the far future",
        batch(base_timestamp=FAR_FUTURE_MS, max_timestamp=FAR_FUTURE_MS + 120_000),
        is_wrong=True,
    )
    yield Sample("timestamp below -1", batch(base_timestamp=-500_000, max_timestamp=-380_000), is_wrong=True)


def _wrong_bytes() -> Iterator[Sample]:
    good = batch()
    spoil: dict[str, Callable[[], bytes]] = {
        "wrong CRC": lambda: patched(good, 17, b"\x00\x01\x02\x03"),
        "wrong CRC of a broken batch": lambda: patched(good, 70, b"\xff\xff"),
        "magic 3": lambda: patched(good, 16, b"\x03"),
        "magic -1": lambda: patched(good, 16, b"\xff"),
        "size too small": lambda: patched(good, 8, (len(good) - 13).to_bytes(4, "big")),
        "size too large": lambda: patched(good, 8, (len(good)).to_bytes(4, "big")),
        "size zero": lambda: patched(good, 8, bytes(4)),
        "size negative": lambda: patched(good, 8, b"\xff\xff\xff\xff"),
        "size huge": lambda: patched(good, 8, b"\x7f\xff\xff\xff"),
        "size below a header": lambda: patched(good, 8, (20).to_bytes(4, "big")),
        "nothing": lambda: b"",
        "one byte": lambda: b"\x00",
        "sixteen bytes": lambda: good[:16],
        "a header without records": lambda: batch(b"", count=0),
        "a header, cut": lambda: good[:40],
        "last byte missing": lambda: good[:-1],
        "a byte too many": lambda: good + b"\x00",
        "two batches": lambda: good + good,
        "two batches of producers": lambda: producer_batch(5, 0, 0) + producer_batch(5, 0, 1),
        "a batch and half a batch": lambda: good + good[: len(good) // 2],
        "magic 2, then magic 1": lambda: good + build_message(1, 0, TIME_MS, b"k", b"v"),
    }
    yield from (Sample(label, make(), is_wrong=True) for label, make in spoil.items())


def _wrong_records() -> Iterator[Sample]:
    one = encode_record(0, 0, b"key", b"value")
    wrong: dict[str, bytes] = {
        "a record too short": batch(patched(one, 0, bytes([one[0] - 4])), count=1),
        "a record too long": batch(patched(one, 0, bytes([one[0] + 4])), count=1),
        "a negative record size": batch(patched(one, 0, b"\x01"), count=1),
        "bytes behind the records": batch(one + b"\x00\x00", count=1),
        "a varint without end": batch(b"\xff" * 20, count=1),
        "offset deltas with a gap": batch(body(first_delta=1)),
        "offset deltas all zero": batch(one * 3),
        "offset delta negative": batch(encode_record(0, -1, b"k", b"v"), count=1),
        "key longer than the record": batch(b"\x10\x00\x00\x00\x70abc", count=1),
        "record attributes set": batch(patched(one, 1, b"\x07"), count=1),
        "gzip with bytes behind": batch(compress(CompressionType.GZIP, body() + b"\x00\x00"), attributes=1),
        "gzip with a record too few": batch(compress(CompressionType.GZIP, body(2)), attributes=1),
        "gzip, cut": batch(compress(CompressionType.GZIP, body())[:-9], attributes=1),
        "zstd, cut": batch(compress(CompressionType.ZSTD, body())[:-4], attributes=4),
        "lz4, cut": batch(compress(CompressionType.LZ4, body())[:-4], attributes=3),
        "snappy, cut": batch(compress(CompressionType.SNAPPY, body())[:-4], attributes=2),
        "gzip of nothing": batch(compress(CompressionType.GZIP, b""), attributes=1),
    }
    yield from (Sample(label, data, is_wrong=True) for label, data in wrong.items())
