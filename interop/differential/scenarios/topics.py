"""CreateTopics and DeleteTopics."""

from collections.abc import Sequence
from itertools import count

from interop.differential.scenarios.world import CREATE_TIMEOUT_MS, Labelled, World
from pybroker.protocol.messages import CreateTopicsRequest, DeleteTopicsRequest

ODD_NAMES = (
    "", ".", "..", "a b", "a/b", "é", "x" * 249, "x" * 250, "metadata_a", "metadata.a", "__consumer_offsets",
)  # fmt: skip
FIRST_DELETE_BY_ID = 6
FIRST_CREATE_WITH_DEFAULTS = 4
_of = CreateTopicsRequest.CreatableTopic


def create(world: World) -> None:
    def named(**fields: object) -> CreateTopicsRequest:
        topic = _of(name="made-{n}", num_partitions=2, replication_factor=1)
        for key, value in fields.items():
            setattr(topic, key, value)
        return CreateTopicsRequest(topics=[topic], timeout_ms=CREATE_TIMEOUT_MS)

    def with_configs(*pairs: tuple[str, str | None]) -> CreateTopicsRequest:
        configs = [CreateTopicsRequest.CreatableTopicConfig(name=name, value=value) for name, value in pairs]
        return named(configs=configs)

    def assigned(*lists: tuple[int, list[int]], **fields: object) -> CreateTopicsRequest:
        assignments = [
            CreateTopicsRequest.CreatableReplicaAssignment(partition_index=index, broker_ids=brokers)
            for index, brokers in lists
        ]
        plain = {"num_partitions": -1, "replication_factor": -1, "assignments": assignments}
        return named(**{**plain, **fields})

    def right(version: int) -> Sequence[Labelled]:
        found = [
            ("two partitions", named()),
            (
                "configs",
                with_configs(("retention.ms", "1000"), ("cleanup.policy", "compact,delete")),
            ),
            ("assigned", assigned((0, [0]), (1, [0]))),
            ("assigned, out of order", assigned((1, [0]), (0, [0]))),
        ]
        if version >= 1:
            only = named()
            only.validate_only = True
            found.append(("only validated", only))
        return found

    def wrong(_version: int) -> Sequence[Labelled]:
        twice, late, mixed = named(), named(), named()
        twice.topics *= 2
        late.timeout_ms = 0
        mixed.topics += named(name="metadata-a").topics + named(name="a b").topics
        found = [
            ("exists", named(name="metadata-a")),
            ("twice", twice),
            ("no time", late),
            ("one right, two wrong", mixed),
            *((f"name {name[:12]!r}", named(name=name))
              for name in ODD_NAMES),
            *((f"partitions {number}", named(num_partitions=number)) for number in (0, -1, -2)),
            *((f"replication {number}", named(replication_factor=number))
              for number in (0, -1, -2, 2, 32767)),
            ("defaults", named(num_partitions=-1, replication_factor=-1)),
            ("assigned and counted", assigned((0, [0]), num_partitions=1)),
            ("assigned and replicated", assigned((0, [0]), replication_factor=1)),
            ("assigned with a gap", assigned((0, [0]), (2, [0]))),
            ("assigned from 1", assigned((1, [0]))),
            ("assigned negative", assigned((-1, [0]))),
            ("assigned to an unknown broker", impatient(assigned((0, [7])))),
            ("assigned twice to one broker", assigned((0, [0, 0]))),
            ("assigned to nobody", impatient(assigned((0, [])))),
            ("assigned unevenly", assigned((0, [0]), (1, [0, 7]))),
            ("partition assigned twice", assigned((0, [0]), (0, [0]))),
        ]  # fmt: skip
        bad: tuple[tuple[str, str | None], ...] = (
            ("no.such.key", "1"), ("retention.ms", "soon"), ("retention.ms", None), ("retention.ms", "-2"),
            ("cleanup.policy", "burn"), ("compression.type", "rar"), ("segment.bytes", "1"), ("", "1"),
            ("min.insync.replicas", "0"), ("max.message.bytes", "-1"), ("retention.ms", ""),
            ("message.timestamp.type", "Yesterday"), ("unclean.leader.election.enable", "perhaps"),
            ("remote.storage.enable", "true"), ("segment.ms", "99999999999999999999"),
            ("leader.replication.throttled.replicas", "x"), ("min.cleanable.dirty.ratio", "2"),
            ("min.compaction.lag.ms", "9"), ("message.format.version", "7"), ("preallocate", "TRUE"),
        )  # fmt: skip
        found += [(f"config {key}={value}", with_configs((key, value))) for key, value in bad]
        found.append(("config twice", with_configs(("retention.ms", "1"), ("retention.ms", "2"))))
        lag = (("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "3"))
        found.append(("compaction lags crossed", with_configs(*lag)))
        return found

    world.exercise(19, right, wrong=wrong, limit=30)
    _read_back(world)


def impatient(request: CreateTopicsRequest) -> CreateTopicsRequest:
    """What never comes to an end is not waited for long."""
    request.timeout_ms = 500
    return request


def _read_back(world: World) -> None:
    """All topics that both have made by now."""
    from pybroker.protocol.messages import MetadataRequest

    world.pair.ask("all topics", MetadataRequest(topics=None, allow_auto_topic_creation=False), 8)


def delete(world: World) -> None:
    numbers = count()
    made: list[str] = []

    def fresh() -> None:
        made.append(f"gone-{next(numbers)}")
        world.create_topic(made[-1])

    for version in world.versions(20):
        fresh()
        _delete(world, version, made[-1])
    fresh()

    def right(version: int) -> Sequence[Labelled]:
        return [("nothing", _by_names(version))]

    world.exercise(20, right, mutate=0)


def _by_names(version: int, *names: str | None) -> DeleteTopicsRequest:
    request = DeleteTopicsRequest(timeout_ms=CREATE_TIMEOUT_MS)
    if version >= FIRST_DELETE_BY_ID:
        request.topics = [DeleteTopicsRequest.DeleteTopicState(name=name) for name in names]
    else:
        request.topic_names = [name or "" for name in names]
    return request


def _delete(world: World, version: int, name: str) -> None:
    ask = world.pair.ask
    ask("one", _by_names(version, name), version)
    ask("gone already", _by_names(version, name), version, wrong=True)
    ask("unknown", _by_names(version, "unknown"), version, wrong=True)
    ask("empty name", _by_names(version, ""), version, wrong=True)
    ask("bad name", _by_names(version, "a/b"), version, wrong=True)
    ask("long name", _by_names(version, "x" * 300), version, wrong=True)
    twice = f"{name}-twice"
    world.create_topic(twice)
    ask("twice", _by_names(version, twice, twice), version, wrong=True)
    ask("twice, once", _by_names(version, twice), version)
    late = f"{name}-late"
    world.create_topic(late)
    request = _by_names(version, late)
    request.timeout_ms = 0
    ask("no time", request, version, wrong=True)
    mixed = f"{name}-mixed"
    world.create_topic(mixed)
    ask("known and unknown", _by_names(version, "unknown", mixed), version, wrong=True)
    if version >= FIRST_DELETE_BY_ID:
        _delete_by_id(world, version, name)


def _delete_by_id(world: World, version: int, name: str) -> None:
    state = DeleteTopicsRequest.DeleteTopicState

    def ask(label: str, *topics: DeleteTopicsRequest.DeleteTopicState, wrong: bool = True) -> None:
        request = DeleteTopicsRequest(topics=list(topics), timeout_ms=CREATE_TIMEOUT_MS)
        world.pair.ask(label, request, version, wrong=wrong)

    def by_id(topic: str) -> DeleteTopicsRequest.DeleteTopicState:
        return state(name=None, topic_id=world.topic_id(topic))  # type: ignore[arg-type]

    ask("unknown id", state(name=None, topic_id=bytes(range(16))))
    ask("zero id", state(name=None))
    # A topic for each: Kafka's controller knows a deleted one for a while, until it makes the next.
    for suffix in ("both", "id", "ids", "name-and-id", "last"):
        world.create_topic(f"{name}-{suffix}")
    ask("id and name", state(name=f"{name}-both", topic_id=world.topic_id(f"{name}-both")))  # type: ignore[arg-type]
    ask("by id", by_id(f"{name}-id"), wrong=False)
    ask("id twice", by_id(f"{name}-ids"), by_id(f"{name}-ids"))
    ask("name and id of the same", state(name=f"{name}-name-and-id"), by_id(f"{name}-name-and-id"))
    world.create_topic(f"{name}-next")
    ask("id gone", by_id(f"{name}-id"))
