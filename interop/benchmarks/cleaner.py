"""What compaction costs those who produce: latency of small produces while the cleaner works, and without it.

Run ``python -m interop.benchmarks.cleaner [--quick] [--rounds N] [--mib N] [--json FILE]``. One broker, one
client that sends one batch of 16 KB after the other, in turns to an ordinary topic and to the very topic that
is compacted. A round fills a topic with dirty records (1 KB each, every key five times), measures with the
cleaner kept away by ``min.cleanable.dirty.ratio``, lets it loose, and measures until it is done.
"""

import argparse
import os
import random
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.systems import ADMIN_TIMEOUT_S, MIB, PybrokerSystem
from interop.support.process import LOCALHOST
from interop.support.waiting import wait_until
from pybroker.protocol.codec import decode, decode_exactly, encode
from pybroker.protocol.messages import ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader
from pybroker.records.builder import build_batch
from pybroker.records.header import Record

ROUNDS, QUICK_ROUNDS = 3, 1
DIRTY_MIB, QUICK_MIB = 1024, 128
SEGMENT_BYTES = 64 * MIB
VALUE_BYTES = 1000
WRITES_PER_KEY = 5
PROBE_BYTES = 16_000
BASELINE_S = 10.0
LOOK_EVERY = 50
P99, P50, WORST = "p99 of produce, ms", "p50 of produce, ms", "worst produce, ms"
DURATION, RATE = "the clean, s", "the clean, MiB/s"
WITHOUT, WITH = "without", "cleaning"
TARGETS = [Target(P99, WITH, 2.0, WITHOUT, at_least=False)]


def main() -> int:
    options = _parse()
    figures = Figures("produce beside the cleaner", options.rounds, [(WITH, WITHOUT)])
    system = PybrokerSystem(settings={"log.cleaner.backoff.ms": "500", "log.segment.bytes": str(1 << 30)})
    system.prepare()
    system.start()
    try:
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}: {options.mib} MiB")
            measure(system, f"dirty-{number}", options.mib, figures)
    finally:
        system.close()
    return 0 if report(figures, TARGETS, options.json) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller log, and fewer rounds")
    parser.add_argument("--rounds", type=int, default=0, help=f"{ROUNDS}, and {QUICK_ROUNDS} with --quick")
    parser.add_argument("--mib", type=int, default=0, help=f"{DIRTY_MIB}, and {QUICK_MIB} with --quick")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.mib = options.mib or (QUICK_MIB if options.quick else DIRTY_MIB)
    return options


def measure(system: PybrokerSystem, topic: str, mib: int, figures: Figures) -> None:
    """One round on a topic of its own."""
    plain = f"{topic}-plain"
    admin = AdminClient({"bootstrap.servers": f"{LOCALHOST}:{system.port}", "log_level": 3})
    compacted = {
        "cleanup.policy": "compact",
        "segment.bytes": str(SEGMENT_BYTES),
        "min.cleanable.dirty.ratio": "1",
        "file.delete.delay.ms": "1000",
    }
    topics = [NewTopic(plain, 1, 1), NewTopic(topic, 1, 1, config=compacted)]
    for future in admin.create_topics(topics).values():
        future.result(ADMIN_TIMEOUT_S)
    producer = Producer(system.port)
    for batch in dirty_batches(mib):
        producer.produce(topic, batch)
    probe = build_batch(
        [Record(n, now_ms(), b"probe-%d" % n, bytes(VALUE_BYTES)) for n in range(PROBE_BYTES // VALUE_BYTES)]
    )
    os.sync()
    end = time.perf_counter() + BASELINE_S
    without = latencies(producer, (plain, topic), probe, lambda: time.perf_counter() >= end)
    let_loose(admin, topic)
    wait_until(lambda: is_cleaning(system.pid), "the cleaner at work", 30)
    started = time.perf_counter()
    checkpoint = system.folder / "data" / "cleaner-offset-checkpoint"
    with_cleaner = latencies(producer, (plain, topic), probe, lambda: is_cleaned(checkpoint, topic))
    seconds = time.perf_counter() - started
    producer.close()
    for name, samples in ((WITHOUT, without), (WITH, with_cleaner)):
        figures.add(P50, name, statistics.median(samples) * 1000)
        figures.add(P99, name, statistics.quantiles(samples, n=100)[98] * 1000)
        figures.add(WORST, name, max(samples) * 1000)
    figures.add(DURATION, WITH, seconds)
    figures.add(RATE, WITH, mib / seconds)
    for name in (plain, topic):
        admin.delete_topics([name])[name].result(ADMIN_TIMEOUT_S)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def dirty_batches(mib: int) -> Iterator[bytes]:
    """Batches of almost 1 MiB; the keys come in no order."""
    rng = random.Random(mib)
    value = rng.randbytes(VALUE_BYTES)
    keys = mib * 1000 // WRITES_PER_KEY
    for _ in range(mib):
        yield build_batch(
            [Record(n, now_ms(), b"key-%012d" % rng.randrange(keys), value) for n in range(1000)]
        )


def latencies(
    producer: "Producer", topics: tuple[str, ...], batch: bytes, is_over: Callable[[], bool]
) -> list[float]:
    """Seconds of each produce, one after the other, to one topic after the other."""
    samples: list[float] = []
    while len(samples) < 2 or len(samples) % LOOK_EVERY or not is_over():
        topic = topics[len(samples) % len(topics)]
        started = time.perf_counter()
        producer.produce(topic, batch)
        samples.append(time.perf_counter() - started)
    return samples


def let_loose(admin: AdminClient, topic: str) -> None:
    """The topic is dirty enough from now on."""
    entry = ConfigEntry("min.cleanable.dirty.ratio", "0.2", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(ADMIN_TIMEOUT_S)


def is_cleaning(pid: int) -> bool:
    """Whether the broker has a process of its own running."""
    return any(path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/children"))


def is_cleaned(checkpoint: Path, topic: str) -> bool:
    """Whether the first clean of the topic is over; the probes may make it due for another."""
    return checkpoint.exists() and f"{topic} 0 " in checkpoint.read_text()


class Producer:
    """One request at a time over a bare socket; acks=-1."""

    VERSION = 9

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((LOCALHOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames: dict[tuple[str, int], bytes] = {}

    def produce(self, topic: str, batch: bytes) -> None:
        self._socket.sendall(self._frame(topic, batch))
        (size,) = struct.unpack(">i", self._exactly(4))
        answer = self._exactly(size)
        _header, start = decode(ResponseHeader, 1, answer)
        response: Any = decode_exactly(ProduceResponse, self.VERSION, answer[start:])
        code = response.responses[0].partition_responses[0].error_code
        assert code == 0, f"produce to {topic}: error {code}"

    def _frame(self, topic: str, batch: bytes) -> bytes:
        """The last frame of each topic is kept: the probes are all the same."""
        key = topic, id(batch)
        if key not in self._frames:
            data = ProduceRequest.TopicProduceData
            part = ProduceRequest.PartitionProduceData
            request = ProduceRequest(
                acks=-1,
                timeout_ms=30_000,
                topic_data=[data(name=topic, partition_data=[part(index=0, records=batch)])],
            )
            header = RequestHeader(request_api_key=0, request_api_version=self.VERSION, client_id="bench")
            body = encode(header, 2) + encode(request, self.VERSION)
            self._frames = {known: frame for known, frame in self._frames.items() if known[0] != topic}
            self._frames[key] = struct.pack(">i", len(body)) + body
        return self._frames[key]

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            data = self._socket.recv(size - len(received))
            assert data, "the broker closed the connection"
            received += data
        return received

    def close(self) -> None:
        self._socket.close()


if __name__ == "__main__":
    sys.exit(main())
