"""Fetch: positions, limits, old formats, sessions."""

from collections.abc import Sequence

from interop.differential.batches import TIME_MS, batch, compressed
from interop.differential.refs import Ref
from interop.differential.scenarios.producing import produce_request
from interop.differential.scenarios.reading import fetch_request
from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.messages import FetchRequest
from pybroker.records.header import CompressionType, Record
from pybroker.records.legacy import build_message_set

FIRST_VERSION_WITH_TOPIC_IDS = 13
FIRST_VERSION_WITH_SESSIONS = 7
FIRST_VERSION_WITH_EPOCHS = 9
ZERO_ID = bytes(16)


def fetch(world: World) -> None:
    world.create_topic("fetch", 3)
    world.create_topic("fetch-old", 1, {"message.format.version": "0.10.0"})
    old = [Record(offset=i, timestamp=TIME_MS, key=b"k", value=b"v", headers=()) for i in range(4)]
    for records in (
        batch(),
        compressed(CompressionType.GZIP),
        batch(),
        compressed(CompressionType.SNAPPY),
        batch(count=9),
    ):
        world.pair.ask("fill", produce_request("fetch", records), 9)
    world.pair.ask("fill", produce_request("fetch", batch(), partition=1), 9)
    for codec in (CompressionType.NONE, CompressionType.GZIP):
        world.pair.ask("fill", produce_request("fetch-old", build_message_set(old, 1, compression=codec)), 2)

    def ask(version: int, name: str = "fetch", **fields: object) -> FetchRequest:
        request = fetch_request(name, 3)
        for key, value in fields.items():
            setattr(request, key, value)
        if version >= FIRST_VERSION_WITH_TOPIC_IDS:
            request.topics[0].topic_id = world.topic_id(name)  # type: ignore[assignment]
        return request

    def at(
        version: int, offset: int, max_bytes: int = 1 << 20, epoch: int = -1, partition: int = 0
    ) -> FetchRequest:
        request = ask(version)
        request.topics[0].partitions = [
            FetchRequest.FetchPartition(
                partition=partition, fetch_offset=offset, partition_max_bytes=max_bytes,
                current_leader_epoch=epoch if version >= FIRST_VERSION_WITH_EPOCHS else -1,
            )
        ]  # fmt: skip
        return request

    def right(version: int) -> Sequence[Labelled]:
        return [
            ("all", ask(version)),
            ("from the middle of a batch", at(version, 1)),
            ("from the middle of a compressed batch", at(version, 4)),
            ("at the end", at(version, 21)),
            ("at the end, waiting", ask(version, max_wait_ms=30, min_bytes=1_000_000)),
            ("one byte of each", at(version, 0, max_bytes=1)),
            ("eighty bytes", at(version, 0, max_bytes=80)),
            ("two batches and a half", at(version, 0, max_bytes=300)),
            ("small reply", ask(version, max_bytes=100)),
            ("read committed", ask(version, isolation_level=1)),
            ("old format", ask(version, "fetch-old")),
        ]

    def wrong(version: int) -> Sequence[Labelled]:
        unknown = ask(version)
        unknown.topics[0].topic = "unknown"
        twice, twice_topic = ask(version), ask(version)
        twice.topics[0].partitions *= 2
        twice_topic.topics *= 2
        found = [
            ("beyond the end", at(version, 22)),
            ("far beyond", at(version, 2**62)),
            ("negative offset", at(version, -1)),
            ("very negative offset", at(version, -(2**63))),
            ("no bytes", at(version, 0, max_bytes=0)),
            ("negative bytes", at(version, 0, max_bytes=-1)),
            ("unknown partition", at(version, 0, partition=3)),
            ("negative partition", at(version, 0, partition=-1)),
            ("newer epoch", at(version, 0, epoch=5)),
            ("epoch of the leader", at(version, 0, epoch=0)),
            ("partition twice", twice),
            ("topic twice", twice_topic),
            ("reply of no bytes", ask(version, max_bytes=0)),
            ("isolation level 2", ask(version, isolation_level=2)),
            ("as a follower", ask(version, replica_id=1) if version < 15 else _as_follower(ask(version))),
        ]
        if version < FIRST_VERSION_WITH_TOPIC_IDS:
            return [*found, ("unknown topic", unknown)]
        for label, topic_id in (("unknown id", bytes(range(16))), ("zero id", ZERO_ID)):
            request = ask(version)
            request.topics[0].topic_id = topic_id
            found.append((label, request))
        return found

    world.exercise(1, right, wrong=wrong, limit=30)
    world.create_topic("epochs-of-fetch")
    for version in world.versions(1):
        if version >= 12:
            request = at(version, 0)
            for epoch in (-1, 0, 1, 7, -5):
                request.topics[0].partitions[0].last_fetched_epoch = epoch
                world.pair.ask(f"last fetched epoch {epoch}", request, version, wrong=epoch != 0)


def _as_follower(request: FetchRequest) -> FetchRequest:
    request.replica_state = FetchRequest.ReplicaState(replica_id=1, replica_epoch=3)
    return request


def sessions(world: World) -> None:
    """A session from its first request to its end, in each version that has them."""
    for version in world.versions(1):
        if version >= FIRST_VERSION_WITH_SESSIONS:
            _session(world, version)


def _session(world: World, version: int) -> None:
    topic, late = f"session-v{version}", f"session-late-v{version}"
    world.create_topic(topic, 3)
    session = Ref(f"{topic} session")

    def ask(
        label: str,
        epoch: int,
        partitions: list[int],
        *,
        forget: list[int] | None = None,
        name: str = topic,
        of: Ref | int = session,
        wrong: bool = False,
        offset: int = 0,
    ) -> None:
        request = fetch_request(name, 3, max_wait_ms=10, offset=offset)
        request.session_id, request.session_epoch = of, epoch  # type: ignore[assignment]
        request.topics[0].partitions = [request.topics[0].partitions[index] for index in partitions]
        identify(request.topics[0], name)
        if not partitions:
            request.topics = []
        if forget is not None:
            request.forgotten_topics_data = [FetchRequest.ForgottenTopic(topic=name, partitions=forget)]
            identify(request.forgotten_topics_data[0], name)
        keep = {session.name: lambda reply: reply.session_id} if epoch == 0 and of == 0 else None
        world.pair.ask(f"{topic}: {label}", request, version, wrong=wrong, capture=keep)

    def identify(holder: FetchRequest.FetchTopic | FetchRequest.ForgottenTopic, name: str) -> None:
        if version >= FIRST_VERSION_WITH_TOPIC_IDS:
            holder.topic_id = bytes(range(16)) if name == late else world.topic_id(name)  # type: ignore[assignment]

    ask("open", 0, [0, 1, 2], of=0)
    ask("nothing new", 1, [])
    world.pair.ask("fill", produce_request(topic, batch(), partition=1), 9)
    ask("something new", 2, [])
    ask("the same again", 3, [])
    ask("go on", 4, [1], offset=3)
    ask("forget one", 5, [], forget=[0])
    ask("wrong epoch", 9, [], wrong=True)
    ask("old epoch", 2, [], wrong=True)
    ask("after wrong epochs", 6, [])
    ask("forget unknown", 7, [], forget=[9], wrong=True)
    ask("add unknown partition offset", 8, [2], offset=99, wrong=True)
    ask("unknown topic added", 9, [0], name=late, wrong=True)
    ask("unknown topic still there", 10, [])
    ask("forget all", 11, [], forget=[0, 1, 2])
    ask("empty", 12, [])
    ask("unknown session", 1, [], of=123456, wrong=True)
    ask("unknown session, full", 0, [0], of=123456, wrong=True)
    ask("close", -1, [0, 1])
    ask("after the close", 13, [], wrong=True)
    ask("negative epoch", -5, [0], of=0, wrong=True)
    ask("no session, epoch 3", 3, [0], of=0, wrong=True)
