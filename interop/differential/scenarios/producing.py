"""Produce and InitProducerId."""

from collections.abc import Sequence

from interop.differential.batches import (
    TIME_MS,
    Sample,
    batch,
    few_samples,
    producer_batch,
    samples,
    trusted_samples,
)
from interop.differential.refs import Made
from interop.differential.scenarios.reading import read_all
from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.messages import InitProducerIdRequest, ProduceRequest

LAST_PRODUCE_BY_NAME = 12
SPECIAL_TOPICS: dict[str, dict[str, str]] = {
    "compact": {"cleanup.policy": "compact"},
    "append-time": {"message.timestamp.type": "LogAppendTime"},
    "small": {"max.message.bytes": "110"},
    "gzip": {"compression.type": "gzip"},
    "uncompressed": {"compression.type": "uncompressed"},
    "zstd": {"compression.type": "zstd"},
    "before-bound": {"message.timestamp.before.max.ms": "1000"},
    "after-bound": {"message.timestamp.after.max.ms": "1000"},
    "two-replicas": {"min.insync.replicas": "2"},
}
"""Topics whose configuration changes what a broker makes of a batch."""

RECOMPRESSED = ("gzip", "zstd")
"""How small they get is up to each one's library, and so is the size of the log."""


def produce_request(
    topic: str, records: object, *, partition: int = 0, acks: int = 1, transactional_id: str | None = None
) -> ProduceRequest:
    data = ProduceRequest.PartitionProduceData(index=partition, records=records)  # type: ignore[arg-type]
    return ProduceRequest(
        transactional_id=transactional_id,
        acks=acks,
        timeout_ms=5000,
        topic_data=[ProduceRequest.TopicProduceData(name=topic, partition_data=[data])],
    )


def produce(world: World) -> None:
    """Every sample in every version, then special topics; what is in the logs at the end is compared too."""
    world.create_topic("produce", 3)
    world.exercise(0, _right, wrong=_wrong, limit=25)
    chosen = few_samples() if world.quick else samples()
    for version in world.versions(0):
        topic = f"produce-v{version}"
        world.create_topic(topic)
        _send(world, topic, version, chosen)
        read_all(world, topic)
        trusted = f"trusted-v{version}"
        world.create_topic(trusted)
        _send(world, trusted, version, trusted_samples())
        world.delete_topic(trusted)
        world.create_topic(f"full-{trusted}", 1, {"compression.type": "gzip"})
        _send(world, f"full-{trusted}", version, trusted_samples())
    for name, configs in SPECIAL_TOPICS.items():
        for version in (2, 9):
            topic = f"produce-{name}-v{version}"
            world.create_topic(topic, 1, configs)
            _send(world, topic, version, chosen)
            world.pair.ask(f"{name}: acks all", produce_request(topic, batch(), acks=-1), version)
            read_all(world, topic)
            if name in RECOMPRESSED:
                world.delete_topic(topic)


def _send(world: World, topic: str, version: int, chosen: list[Sample]) -> None:
    for one in chosen:
        request = produce_request(topic, one.records)
        world.pair.ask(f"{topic}: {one.label}", request, version, wrong=one.is_wrong)


def _right(_version: int) -> Sequence[Labelled]:
    several = produce_request("produce", batch(), partition=1)
    several.topic_data[0].partition_data += (
        produce_request("produce", batch(), partition=2).topic_data[0].partition_data
    )
    return [
        ("one batch", produce_request("produce", batch())),
        ("acks all", produce_request("produce", batch(), acks=-1)),
        ("acks none", produce_request("produce", batch(), acks=0)),
        ("two partitions", several),
    ]


def _wrong(_version: int) -> Sequence[Labelled]:
    twice = produce_request("produce", batch())
    twice.topic_data[0].partition_data *= 2
    twice_topic = produce_request("produce", batch())
    twice_topic.topic_data *= 2
    half = produce_request("produce", batch())
    half.topic_data += produce_request("unknown", batch()).topic_data
    half.topic_data += produce_request("produce", batch(), partition=9).topic_data
    return [
        ("unknown topic", produce_request("unknown", batch())),
        ("unknown partition", produce_request("produce", batch(), partition=3)),
        ("negative partition", produce_request("produce", batch(), partition=-1)),
        ("acks none, unknown topic", produce_request("unknown", batch(), acks=0)),
        ("acks none, bad batch", produce_request("produce", batch(record_count=9), acks=0)),
        ("acks 2", produce_request("produce", batch(), acks=2)),
        ("acks 2, unknown topic", produce_request("unknown", batch(), acks=2)),
        ("null records", produce_request("produce", None)),
        ("partition twice", twice),
        ("topic twice", twice_topic),
        ("one right, two unknown", half),
        ("internal topic", produce_request("__consumer_offsets", batch())),
    ]


def idempotence(world: World) -> None:
    """Sequences of an idempotent producer: new, repeated, with gaps, of old and new epochs, at the wrap."""
    for version in world.versions(0):
        if version >= 3:
            _sequences(world, version)


def _sequences(world: World, version: int) -> None:
    topic = f"sequences-v{version}"
    world.create_topic(topic, 2)
    producer = world.producer_id(f"{topic} producer")

    def send(
        label: str, sequence: int, count: int = 1, epoch: int = 0, *, partition: int = 0, wrong: bool = False,
        plus: int = 0,
    ) -> None:  # fmt: skip
        records = Made(lambda found: producer_batch(found, epoch, sequence, count), (producer + plus,))
        request = produce_request(topic, records, partition=partition, acks=-1)
        world.pair.ask(f"{topic}: {label}", request, version, wrong=wrong)

    send("first", 0)
    send("repeated", 0)
    send("second", 1, 3)
    send("second repeated", 1, 3)
    send("same start, other end", 1, 2, wrong=True)
    send("overlap", 3, 5, wrong=True)
    send("gap", 9, wrong=True)
    send("negative", -3, wrong=True)
    for number in range(6):
        send(f"more {number}", 4 + number)
    send("repeated long ago", 0, wrong=True)
    send("repeated five back", 5)
    send("repeated six back", 4, wrong=True)
    send("other partition, not from zero", 7, partition=1, wrong=True)
    send("other partition, after that", 8, partition=1)
    send("new epoch, not from zero", 10, epoch=1, wrong=True)
    send("new epoch", 0, epoch=1)
    send("new epoch repeated", 0, epoch=1)
    send("old epoch", 10, epoch=0, wrong=True)
    send("far epoch", 0, epoch=32767)
    send("unknown producer", 0, plus=50_000)
    send("unknown producer, not from zero", 5, plus=60_000, wrong=True)
    send("last sequence", 2**31 - 1, plus=70_000, wrong=True)
    send("wrap", 2**31 - 1, 2, plus=70_000, wrong=True)
    send("after the wrap", 0, plus=70_000, wrong=True)
    records = Made(lambda found: producer_batch(found, 32767, 1, attributes=16), (producer,))
    world.pair.ask(
        f"{topic}: transactional batch without id", produce_request(topic, records), version, wrong=True
    )
    read_all(world, topic, 2)


def init_producer_id(world: World) -> None:
    """Idempotent producers only, as long as not both have transactions."""
    world.exercise(22, _right_ids, wrong=_wrong_ids, mutate=int(24 in world.pair.versions))


def _right_ids(_version: int) -> Sequence[Labelled]:
    return [
        ("first", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)),
        ("second", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1)),
        ("huge time-out", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=2**31 - 1)),
    ]


def _wrong_ids(version: int) -> Sequence[Labelled]:
    found = [
        ("no time-out", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)),
        ("empty id", InitProducerIdRequest(transactional_id="", transaction_timeout_ms=60_000)),
    ]
    if version >= 3:
        for producer_id, epoch in ((5, -1), (-1, 5), (5, 5), (-7, -7), (2**62, 32767)):
            request = InitProducerIdRequest(
                transactional_id=None, transaction_timeout_ms=60_000,
                producer_id=producer_id, producer_epoch=epoch,
            )  # fmt: skip
            found.append((f"producer {producer_id} epoch {epoch}", request))
    return found


__all__ = ["TIME_MS", "idempotence", "init_producer_id", "produce", "produce_request"]
