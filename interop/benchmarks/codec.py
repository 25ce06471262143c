"""What decoding and encoding cost: our generated code, our construct trees interpreted, and kio.

Run ``python -m interop.benchmarks.codec [--json FILE] [--rounds N]``. Times are medians of rounds in which
all contestants take turns, so that a slow phase of the machine hits them alike; only ratios can be compared
between machines. kio reads with native code and writes in Python.
"""

import argparse
import gc
import io
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kio.index import load_entity_schema
from kio.schema.index import LoadableEntityType
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType
from msgspec import Struct

from pybroker.protocol import codec
from pybroker.protocol.messages import FetchRequest, MetadataResponse, ProduceRequest
from pybroker.protocol.schema import message_structure

MIN_ROUNDS = 7
SLICE_S = 0.03
"""How long one contestant runs in one round."""

TARGETS = {
    ("decode", "tree/generated"): (8.0, "at least"),
    ("encode", "kio/generated"): (4.0, "at least"),
    ("decode", "generated/kio"): (5.0, "at most"),
}


class Case(Struct, frozen=True):
    """A message of one version, and what kio calls it."""

    title: str
    version: int
    message: Any
    kio_name: str
    kio_type: LoadableEntityType


def cases() -> list[Case]:
    """One small, one wide and one large message, in versions that clients use."""
    return [
        Case("ProduceRequest v9, 1x1, 16 KB", 9, produce_request(), "produce", EntityType.request),
        Case("FetchRequest v13, 50 partitions", 13, fetch_request(), "fetch", EntityType.request),
        Case("MetadataResponse v12, 100x10", 12, metadata_response(), "metadata", EntityType.response),
    ]


def produce_request() -> ProduceRequest:
    records = bytes(range(256)) * 64
    partition = ProduceRequest.PartitionProduceData(index=3, records=records)
    topic = ProduceRequest.TopicProduceData(name="a-topic-name", partition_data=[partition])
    return ProduceRequest(acks=-1, timeout_ms=30_000, topic_data=[topic])


def fetch_request() -> FetchRequest:
    partitions = [
        FetchRequest.FetchPartition(
            partition=index, current_leader_epoch=7, fetch_offset=10**9 + index, partition_max_bytes=2**20
        )
        for index in range(50)
    ]
    topic = FetchRequest.FetchTopic(topic_id=uuid.UUID(int=2**100 + 1).bytes, partitions=partitions)
    return FetchRequest(max_wait_ms=500, min_bytes=1, max_bytes=50 * 2**20, session_id=77, topics=[topic])


def metadata_response() -> MetadataResponse:
    brokers = [
        MetadataResponse.MetadataResponseBroker(
            node_id=node, host=f"broker-{node}.example", port=9092, rack="r1"
        )
        for node in (1, 2, 3)
    ]
    return MetadataResponse(
        brokers=brokers,
        cluster_id="abcdefghijklmnopqrstuv",
        controller_id=1,
        topics=[metadata_topic(number) for number in range(100)],
    )


def metadata_topic(number: int) -> MetadataResponse.MetadataResponseTopic:
    partitions = [
        MetadataResponse.MetadataResponsePartition(
            partition_index=index, leader_id=1, leader_epoch=5, replica_nodes=[1, 2, 3], isr_nodes=[1, 2, 3]
        )
        for index in range(10)
    ]
    return MetadataResponse.MetadataResponseTopic(
        name=f"topic-number-{number}", topic_id=uuid.UUID(int=2**100 + number).bytes, partitions=partitions
    )


def contestants(case: Case) -> dict[tuple[str, str], Callable[[], object]]:
    """(direction, who) to what is timed. All of them are checked to agree first."""
    message = type(case.message)
    data = codec.encode(case.message, case.version)
    view = memoryview(bytearray(data))
    tree = message_structure(message, case.version)
    decode, encode = codec.decoder(message, case.version), codec.encoder(message, case.version)
    entity = load_entity_schema(case.kio_name, case.version, case.kio_type)
    kio_read, kio_write = entity_reader(entity), entity_writer(entity)
    kio_value = kio_read(data, 0)[0]

    def write_kio() -> bytes:
        with io.BytesIO() as buffer:
            kio_write(buffer, kio_value)
            return buffer.getvalue()

    assert decode(view)[0] == tree.parse(data) == case.message
    assert encode(case.message) == tree.build(case.message) == write_kio() == data
    return {
        ("decode", "generated"): lambda: decode(view),
        ("decode", "tree"): lambda: tree.parse(data),
        ("decode", "kio"): lambda: kio_read(data, 0),
        ("encode", "generated"): lambda: encode(case.message),
        ("encode", "tree"): lambda: tree.build(case.message),
        ("encode", "kio"): write_kio,
    }


def measure(
    functions: dict[tuple[str, str], Callable[[], object]], rounds: int
) -> dict[str, dict[str, float]]:
    """Medians in microseconds by direction and contestant.

    What exists before is taken out of the garbage collector's sight, as the broker does after its start: else
    the thousands of objects of one large message make it look at every imported module again and again.
    """
    gc.collect()
    gc.freeze()
    repeats = {key: max(1, int(SLICE_S / timed(function, 1))) for key, function in functions.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in functions}
    for _ in range(rounds):
        for key, function in functions.items():
            times[key].append(timed(function, repeats[key]) * 1e6)
    medians: dict[str, dict[str, float]] = {"decode": {}, "encode": {}}
    for (direction, who), samples in times.items():
        medians[direction][who] = statistics.median(samples)
    return medians


def timed(function: Callable[[], object], repeats: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def ratio(medians: dict[str, dict[str, float]], direction: str, pair: str) -> float:
    upper, lower = pair.split("/")
    return medians[direction][upper] / medians[direction][lower]


def report(results: dict[str, dict[str, dict[str, float]]]) -> bool:
    """Print the table and the targets; whether all targets hold."""
    line = "{:34} {:6} {:>12} {:>12} {:>12}  {:>9} {:>9}\n"
    sys.stdout.write(line.format("µs per message", "", "generated", "tree", "kio", "tree/gen", "kio/gen"))
    for title, medians in results.items():
        for direction, by_who in medians.items():
            numbers = [f"{by_who[who]:.2f}" for who in ("generated", "tree", "kio")]
            ratios = [f"{ratio(medians, direction, f'{who}/generated'):.2f}" for who in ("tree", "kio")]
            sys.stdout.write(line.format(title, direction, *numbers, *ratios))
    met = True
    for (direction, pair), (bound, kind) in TARGETS.items():
        for title, medians in results.items():
            found = ratio(medians, direction, pair)
            holds = found >= bound if kind == "at least" else found <= bound
            met = met and holds
            verdict = "ok" if holds else "MISSED"
            sys.stdout.write(f"{verdict:7} {title}: {direction} {pair} {found:.2f}, {kind} {bound:g}\n")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS)
    parser.add_argument("--json", type=Path, help="also write the medians to this file")
    options = parser.parse_args()
    rounds = max(options.rounds, MIN_ROUNDS)
    results = {case.title: measure(contestants(case), rounds) for case in cases()}
    met = report(results)
    if options.json:
        options.json.write_text(
            json.dumps({"unit": "us", "rounds": rounds, "results": results}, indent=2) + "\n"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
