"""The log by itself: what it costs beside the bare system calls, and what its partitions cost.

Run ``python -m interop.benchmarks.log [--quick] [--rounds N] [--folder FOLDER] [--json FILE]``.

- Appending batches of 100 records of an idempotent producer, both indexes on, beside ``os.write`` of the same
  buffers to a file: by the Log alone, and with the CRC and the header checked before.
- Fetching old segments 1 MiB at a time from a broker, one fetch in flight, beside a bare loop of ``sendfile``
  from a file to a socket.
- Opening 1,000 partitions of 10 segments after a clean stop, and the memory of a broker per idle partition.
"""

import argparse
import gc
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from crc32c import crc32c

from interop.benchmarks.figures import Figures, Target, progress, report
from interop.soak.many_partitions import Run
from interop.support.process import LOCALHOST
from interop.support.servers import PybrokerServer
from pybroker.model.ids import TopicPartition, new_topic_id
from pybroker.protocol.codec import encode
from pybroker.protocol.messages import CreateTopicsRequest, FetchRequest, RequestHeader
from pybroker.records.builder import build_batch
from pybroker.records.header import Record, read_batch_header
from pybroker.records.policy import ValidationLevel, ValidationPolicy
from pybroker.records.validation import ValidatedBatch, validate_produce
from pybroker.storage.context import StorageContext
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_manager import LogManager

ROUNDS, QUICK_ROUNDS = 7, 3
MIB = 1 << 20
SIZES = {"16 KB": 16_000, "1 MB": 1_000_000}
RECORDS = 100
APPENDED_BYTES, QUICK_APPENDED_BYTES = 512 * MIB, 128 * MIB
FETCHED_BYTES, QUICK_FETCHED_BYTES = 2048 * MIB, 512 * MIB
PARTITIONS, SEGMENTS = 1000, 10
IDLE_PARTITIONS, QUICK_IDLE_PARTITIONS = 3000, 600
NOW_MS = 1_700_000_000_000
RAW, LOG, CHECKED, BROKER = "raw", "log", "log, checked", "pybroker"
FETCH = "fetch of old segments, MiB/s"
OPENING = f"opening {PARTITIONS:,} x {SEGMENTS} segments, s"
MEMORY = "memory per idle partition, KiB"
_BASE_OFFSET_BYTES = 8
_CRC_AT, _CRC_FROM, _SEQUENCE_AT = 17, 21, 53
_TOPIC = "measured"


def _appending(size: str) -> str:
    return f"append of {size} batches, MiB/s"


TARGETS = [
    Target(_appending("16 KB"), LOG, 0.45, RAW),
    Target(_appending("1 MB"), LOG, 0.80, RAW),
    Target(_appending("16 KB"), CHECKED, 0.38, RAW),
    Target(_appending("1 MB"), CHECKED, 0.65, RAW),
    Target(FETCH, BROKER, 0.80, RAW),
    Target(OPENING, LOG, 2.0, at_least=False),
    Target(MEMORY, BROKER, 30.0, at_least=False),
]


def main() -> int:
    options = _parse()
    figures = Figures("the log", options.rounds, [(LOG, RAW), (CHECKED, RAW), (BROKER, RAW)])
    with tempfile.TemporaryDirectory(prefix="bench-log-", dir=options.folder) as folder:
        for size in SIZES:
            progress(f"append {size}")
            measure_append(Path(folder), size, options, figures)
        progress("fetch")
        measure_fetch(Path(folder), options, figures)
        progress("open")
        measure_opening(Path(folder), options, figures)
        progress("memory")
        measure_memory(Path(folder), options, figures)
    return 0 if report(figures, TARGETS, options.json) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer bytes, partitions and rounds")
    parser.add_argument("--rounds", type=int, default=0, help=f"{ROUNDS}, and {QUICK_ROUNDS} with --quick")
    parser.add_argument("--folder", type=Path, help="where the files go (default: the temporary folder)")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


# -- append


def measure_append(folder: Path, size: str, options: argparse.Namespace, figures: Figures) -> None:
    """Every round writes the same buffers to three new files. A round before them does not count."""
    total = QUICK_APPENDED_BYTES if options.quick else APPENDED_BYTES
    buffers = make_buffers(SIZES[size], total)
    written = sum(map(len, buffers)) / MIB
    ways: list[tuple[str, Callable[[Path, list[memoryview]], float]]] = [
        (RAW, write_raw),
        (LOG, append),
        (CHECKED, append_checked),
    ]
    for number in range(-1, options.rounds):
        for way, run in ways[number % 3 :] + ways[: number % 3]:
            target = folder / "append"
            target.mkdir()
            for buffer in buffers:
                buffer[:_BASE_OFFSET_BYTES] = bytes(_BASE_OFFSET_BYTES)
            gc.collect()
            seconds = run(target, buffers)
            shutil.rmtree(target)
            if number >= 0:
                figures.add(_appending(size), way, written / seconds)


def make_buffers(size: int, total: int) -> list[memoryview]:
    """Batches of one producer in sequence, together about ``total`` bytes, as if they had just come in."""
    value = bytes(size // RECORDS - 12)
    template = bytearray(
        build_batch(
            [Record(n, NOW_MS + n, None, value) for n in range(RECORDS)],
            producer_id=7,
            producer_epoch=0,
            base_sequence=0,
        )
    )
    buffers = []
    for number in range(total // len(template)):
        struct.pack_into(">i", template, _SEQUENCE_AT, number * RECORDS)
        struct.pack_into(">I", template, _CRC_AT, crc32c(memoryview(template)[_CRC_FROM:]))
        buffers.append(memoryview(bytearray(template)))
    return buffers


def write_raw(folder: Path, buffers: list[memoryview]) -> float:
    """Seconds that ``os.write`` takes."""
    fd = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)
    write = os.write
    started = time.perf_counter()
    for buffer in buffers:
        write(fd, buffer)
    seconds = time.perf_counter() - started
    os.close(fd)
    return seconds


def append(folder: Path, buffers: list[memoryview]) -> float:
    """Seconds that the Log takes for batches that are checked already."""
    batches = []
    for buffer in buffers:
        header = read_batch_header(buffer)
        batches.append(
            ValidatedBatch(
                header, buffer, header.record_count, header.max_timestamp, header.last_offset_delta
            )
        )
    with _manager(folder) as manager:
        log = manager.create(TopicPartition(_TOPIC, 0), new_topic_id(), LogConfig())
        started = time.perf_counter()
        for batch in batches:
            log.append_as_leader(batch, 0)
        seconds = time.perf_counter() - started
        assert log.log_end_offset == len(buffers) * RECORDS
    return seconds


def append_checked(folder: Path, buffers: list[memoryview]) -> float:
    """Seconds with the check of CRC and header before each append."""
    policy = ValidationPolicy(level=ValidationLevel.HEADER)
    with _manager(folder) as manager:
        log = manager.create(TopicPartition(_TOPIC, 0), new_topic_id(), LogConfig())
        started = time.perf_counter()
        for buffer in buffers:
            log.append_as_leader(validate_produce(buffer, policy, NOW_MS), 0)
        seconds = time.perf_counter() - started
        assert log.log_end_offset == len(buffers) * RECORDS
    return seconds


@contextmanager
def _manager(folder: Path) -> Iterator[LogManager]:
    manager = LogManager([str(folder)], StorageContext(now_ms=lambda: NOW_MS))
    manager.lock()
    manager.load()
    try:
        yield manager
    finally:
        manager.release()


# -- fetch


def measure_fetch(folder: Path, options: argparse.Namespace, figures: Figures) -> None:
    """A broker and a bare loop of ``sendfile``, each in a process of its own, answer the same client."""
    total = QUICK_FETCHED_BYTES if options.quick else FETCHED_BYTES
    buffers = make_buffers(SIZES["1 MB"], 256 * MIB)
    server = PybrokerServer({"log.segment.bytes": str(64 * MIB)}, folder / "broker")
    (folder / "broker").mkdir()
    server.start()
    _ask(server.port, _creation())
    server.stop()
    with _manager(folder / "broker" / "data") as manager:
        log = manager.create(TopicPartition(_TOPIC, 0))
        log.update_config(LogConfig(segment_bytes=64 * MIB))
        for buffer in buffers:
            header = read_batch_header(buffer)
            log.append_as_leader(ValidatedBatch(header, buffer, RECORDS, NOW_MS, RECORDS - 1), 0)
        manager.close()
    server.start()
    last_old = 180 * RECORDS
    requests = [_fetch_request(offset) for offset in range(0, last_old, RECORDS)]
    size = len(buffers[0])
    file = next((folder / "broker" / "data" / f"{_TOPIC}-0").glob("*.log"))
    code = _RAW_SERVER.format(file=str(file), size=size, request=len(requests[0]))
    raw = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert raw.stdout is not None
        ports = {RAW: int(raw.stdout.readline()), BROKER: server.port}
        for number in range(-1, options.rounds):
            for name in (RAW, BROKER) if number % 2 else (BROKER, RAW):
                rate = fetch_all(ports[name], requests, total, size)
                if number >= 0:
                    figures.add(FETCH, name, rate)
    finally:
        raw.kill()
        raw.wait()
        server.stop()


_RAW_SERVER = """
import os, socket
size = {size}
fd = os.open({file!r}, os.O_RDONLY)
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    peer, _ = listening.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count = 0
    while peer.recv({request}, socket.MSG_WAITALL):
        position, count = size * (count % 60), count + 1
        peer.send(size.to_bytes(4, "big"), socket.MSG_MORE)
        end = position + size
        while position < end:
            position += os.sendfile(peer.fileno(), fd, position, end - position)
"""


def fetch_all(port: int, requests: list[bytes], total: int, least: int) -> float:
    """MiB/s of answers, one request in flight, until ``total`` bytes have come."""
    with socket.create_connection((LOCALHOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = memoryview(bytearray(4 * MIB))
        received = number = 0
        started = time.perf_counter()
        while received < total:
            connection.sendall(requests[number % len(requests)])
            size = _receive(connection, buffer)
            assert size >= least, f"an answer of {size} bytes"
            received += size
            number += 1
        return received / MIB / (time.perf_counter() - started)


def _receive(connection: socket.socket, buffer: memoryview) -> int:
    """The size of the next answer, which is in the buffer."""
    connection.recv_into(buffer, 4, socket.MSG_WAITALL)
    size = int.from_bytes(buffer[:4], "big")
    got = 0
    while got < size:
        count = connection.recv_into(buffer[got:], size - got)
        assert count, "the connection ended"
        got += count
    return size


def _ask(port: int, frame: bytes) -> None:
    with socket.create_connection((LOCALHOST, port)) as connection:
        connection.sendall(frame)
        _receive(connection, memoryview(bytearray(MIB)))


def _creation() -> bytes:
    topic = CreateTopicsRequest.CreatableTopic(name=_TOPIC, num_partitions=1, replication_factor=1)
    return _frame(19, 5, CreateTopicsRequest(topics=[topic], timeout_ms=10_000))


def _fetch_request(offset: int) -> bytes:
    partition = FetchRequest.FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1)
    topic = FetchRequest.FetchTopic(topic=_TOPIC, partitions=[partition])
    request = FetchRequest(
        replica_id=-1, max_wait_ms=1000, min_bytes=1, max_bytes=1, session_epoch=-1, topics=[topic]
    )
    return _frame(1, 11, request)


def _frame(key: int, version: int, request: Any) -> bytes:
    header = RequestHeader(request_api_key=key, request_api_version=version, correlation_id=1, client_id="")
    body = encode(header, 2 if key == 19 else 1) + encode(request, version)
    return struct.pack(">i", len(body)) + body


# -- opening and memory


def measure_opening(folder: Path, options: argparse.Namespace, figures: Figures) -> None:
    """Opens what a clean stop left, again and again."""
    target = folder / "opening"
    target.mkdir()
    batch = make_buffers(SIZES["16 KB"], SIZES["16 KB"] * 2)[0]
    header = read_batch_header(batch)._replace(producer_id=-1)
    with _manager(target) as manager:
        for number in range(PARTITIONS):
            log = manager.create(TopicPartition(_TOPIC, number), new_topic_id(), LogConfig())
            for segment in range(SEGMENTS):
                if segment:
                    log.roll()
                log.append_as_leader(ValidatedBatch(header, batch, RECORDS, NOW_MS, RECORDS - 1), 0)
        manager.close()
    for _ in range(options.rounds):
        gc.collect()
        started = time.perf_counter()
        with _manager(target) as manager:
            figures.add(OPENING, LOG, time.perf_counter() - started)
            assert len(manager) == PARTITIONS
            manager.close()
    shutil.rmtree(target)


def measure_memory(folder: Path, options: argparse.Namespace, figures: Figures) -> None:
    """Resident memory of a broker that has just started, with partitions and without."""
    import trio

    count = QUICK_IDLE_PARTITIONS if options.quick else IDLE_PARTITIONS
    resident = []
    for partitions in (0, count):
        target = folder / f"memory-{partitions}"
        target.mkdir()
        run = Run(target, partitions, 1, 8192)
        try:
            trio.run(run.make)
            resident.append(psutil.Process(run.process.pid).memory_info().rss)
        finally:
            run.process.kill9()
    figures.add(MEMORY, BROKER, (resident[1] - resident[0]) / count / 1024)


if __name__ == "__main__":
    sys.exit(main())
