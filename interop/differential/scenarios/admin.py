"""Administration: records, partitions, configurations, log directories, elections, moves and producers."""

from collections.abc import Sequence

from interop.differential.batches import batch, producer_batch
from interop.differential.refs import Made, Ref
from interop.differential.scenarios.producing import produce_request
from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.messages import (
    AlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    AlterReplicaLogDirsRequest,
    CreatePartitionsRequest,
    DeleteRecordsRequest,
    DescribeConfigsRequest,
    DescribeLogDirsRequest,
    DescribeProducersRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest,
)

TOPIC = "admin"
OF_TOPIC, OF_BROKER = 2, 4
TIMEOUT_MS = 14_000


def records(world: World) -> None:
    """DeleteRecords."""
    world.create_topic("shortened", 2)
    for _ in range(12):
        world.pair.ask("fill", produce_request("shortened", batch(count=9)), 9)

    def ask(offset: int, topic: str = "shortened", partition: int = 0) -> DeleteRecordsRequest:
        asked = DeleteRecordsRequest.DeleteRecordsPartition(partition_index=partition, offset=offset)
        return DeleteRecordsRequest(
            topics=[DeleteRecordsRequest.DeleteRecordsTopic(name=topic, partitions=[asked])],
            timeout_ms=TIMEOUT_MS,
        )

    def wrong(_version: int) -> Sequence[Labelled]:
        twice = ask(60)
        twice.topics[0].partitions *= 2
        internal = ask(0, "__consumer_offsets")
        return [
            ("before the start", ask(1)),
            ("beyond the end", ask(500)),
            ("offset -2", ask(-2)),
            ("unknown topic", ask(0, "unknown")),
            ("unknown partition", ask(0, partition=7)),
            ("negative partition", ask(0, partition=-1)),
            ("partition twice", twice),
            ("internal topic", internal),
        ]

    world.exercise(
        21,
        lambda version: (
            [(f"to {at}", ask(at)) for at in (10 + version, 14 + version, 20 + version)]
            + [("to the end of nothing", ask(-1, partition=1))]
        ),
        wrong=wrong,
        limit=25,
    )


def partitions(world: World) -> None:
    """CreatePartitions. A topic grows once; each request names another one."""

    def ask(
        count: int, topic: str = "grown-{n}", *brokers: list[int], validate_only: bool = False
    ) -> CreatePartitionsRequest:
        assigned = [CreatePartitionsRequest.CreatePartitionsAssignment(broker_ids=one) for one in brokers]
        one = CreatePartitionsRequest.CreatePartitionsTopic(
            name=topic, count=count, assignments=assigned or None
        )
        return CreatePartitionsRequest(topics=[one], timeout_ms=TIMEOUT_MS, validate_only=validate_only)

    grown = 0
    world.create_topic("growing", 1)

    def right(_version: int) -> Sequence[Labelled]:
        nonlocal grown
        grown += 3
        return [
            ("only validated", ask(40, "growing", validate_only=True)),
            ("grow", ask(grown, "growing")),
            ("grow by assignment", ask(grown + 1, "growing", [0])),
        ]

    def wrong(_version: int) -> Sequence[Labelled]:
        twice = ask(99, "growing")
        twice.topics *= 2
        return [
            ("unknown topic", ask(3, "unknown")),
            ("empty name", ask(3, "")),
            ("no growth", ask(grown + 1, "growing")),
            ("shrink", ask(1, "growing")),
            ("zero", ask(0, "growing")),
            ("negative", ask(-1, "growing")),
            ("too few assignments", ask(grown + 5, "growing", [0])),
            ("too many assignments", ask(grown + 2, "growing", [0], [0])),
            ("unknown broker", ask(grown + 2, "growing", [7])),
            ("broker twice", ask(grown + 2, "growing", [0, 0])),
            ("nobody", ask(grown + 2, "growing", [])),
            ("topic twice", twice),
        ]

    world.exercise(37, right, wrong=wrong, limit=25)


def configs(world: World) -> None:
    """DescribeConfigs, AlterConfigs, IncrementalAlterConfigs."""
    world.create_topic(TOPIC, 1, {"retention.ms": "5000", "cleanup.policy": "delete"})
    resource = DescribeConfigsRequest.DescribeConfigsResource

    def describe(
        kind: int, name: str, *keys: str, synonyms: bool = False, every: bool = False
    ) -> DescribeConfigsRequest:
        return DescribeConfigsRequest(
            resources=[
                resource(
                    resource_type=kind, resource_name=name, configuration_keys=None if every else list(keys)
                )
            ],
            include_synonyms=synonyms,
        )

    def right(version: int) -> Sequence[Labelled]:
        found = [
            ("topic", describe(OF_TOPIC, TOPIC, every=True)),
            ("two keys", describe(OF_TOPIC, TOPIC, "retention.ms", "cleanup.policy")),
            (
                "broker keys",
                describe(OF_BROKER, "0", "num.partitions", "log.retention.ms", "compression.type"),
            ),
            ("all brokers", describe(OF_BROKER, "", every=True)),
        ]
        if version >= 1:
            found += [
                ("synonyms", describe(OF_TOPIC, TOPIC, "retention.ms", "segment.bytes", synonyms=True)),
                (
                    "broker synonyms",
                    describe(OF_BROKER, "0", "log.segment.bytes", "log.retention.hours", synonyms=True),
                ),
            ]
        return found

    def wrong(_version: int) -> Sequence[Labelled]:
        twice = describe(OF_TOPIC, TOPIC, "retention.ms")
        twice.resources *= 2
        return [
            ("unknown topic", describe(OF_TOPIC, "unknown", every=True)),
            ("empty topic", describe(OF_TOPIC, "", every=True)),
            ("bad topic", describe(OF_TOPIC, "a/b", every=True)),
            ("unknown key", describe(OF_TOPIC, TOPIC, "no.such.key")),
            ("no keys", describe(OF_TOPIC, TOPIC)),
            ("unknown broker", describe(OF_BROKER, "7", every=True)),
            ("broker without number", describe(OF_BROKER, "zero", every=True)),
            ("loggers of an unknown broker", describe(8, "7", every=True)),
            ("groups", describe(3, "group", every=True)),
            ("type 0", describe(0, TOPIC, every=True)),
            ("type 127", describe(127, TOPIC, every=True)),
            ("type -1", describe(-1, TOPIC, every=True)),
            ("twice", twice),
        ]

    world.exercise(32, right, wrong=wrong, limit=25)
    _alter(world)
    _alter_incrementally(world)
    for version in world.versions(32):
        world.pair.ask("after all", describe(OF_TOPIC, TOPIC, every=True), version)


BAD_VALUES: tuple[tuple[str, str | None], ...] = (
    ("no.such.key", "1"), ("retention.ms", "soon"), ("retention.ms", None), ("retention.ms", "-2"),
    ("cleanup.policy", "burn"), ("cleanup.policy", ""), ("compression.type", "rar"), ("segment.bytes", "1"),
    ("", "1"), ("min.insync.replicas", "0"), ("max.message.bytes", "-1"), ("remote.storage.enable", "true"),
    ("leader.replication.throttled.replicas", "x"), ("message.timestamp.type", "Yesterday"),
)  # fmt: skip


def _alter(world: World) -> None:
    config = AlterConfigsRequest.AlterableConfig

    def ask(
        *pairs: tuple[str, str | None], kind: int = OF_TOPIC, name: str = TOPIC, only: bool = False
    ) -> AlterConfigsRequest:
        return AlterConfigsRequest(
            resources=[
                AlterConfigsRequest.AlterConfigsResource(
                    resource_type=kind,
                    resource_name=name,
                    configs=[config(name=key, value=value) for key, value in pairs],
                )
            ],
            validate_only=only,
        )

    def wrong(_version: int) -> Sequence[Labelled]:
        twice = ask(("retention.ms", "9"))
        twice.resources *= 2
        return [
            *((f"{key}={value}", ask((key, value))) for key, value in BAD_VALUES),
            ("unknown topic", ask(("retention.ms", "9"), name="unknown")),
            ("empty topic", ask(("retention.ms", "9"), name="")),
            ("unknown broker", ask(("log.retention.ms", "9"), kind=OF_BROKER, name="7")),
            ("fixed key of a broker", ask(("broker.id", "9"), kind=OF_BROKER, name="0")),
            ("unknown key of a broker", ask(("no.such.key", "9"), kind=OF_BROKER, name="0", only=True)),
            ("type 0", ask(("retention.ms", "9"), kind=0)),
            ("groups", ask(("retention.ms", "9"), kind=3)),
            ("twice", twice),
            ("key twice", ask(("retention.ms", "9"), ("retention.ms", "10"))),
        ]

    def right(_version: int) -> Sequence[Labelled]:
        return [
            ("one", ask(("retention.ms", "7000"))),
            ("only validated", ask(("retention.ms", "8000"), only=True)),
            ("none", ask()),
            ("two", ask(("retention.ms", "7000"), ("cleanup.policy", "compact,delete"))),
        ]

    world.exercise(33, right, wrong=wrong, limit=25)


def _alter_incrementally(world: World) -> None:
    config = IncrementalAlterConfigsRequest.AlterableConfig
    put, delete, append, subtract = range(4)

    def ask(
        *changes: tuple[str, int, str | None], kind: int = OF_TOPIC, name: str = TOPIC
    ) -> IncrementalAlterConfigsRequest:
        return IncrementalAlterConfigsRequest(
            resources=[
                IncrementalAlterConfigsRequest.AlterConfigsResource(
                    resource_type=kind,
                    resource_name=name,
                    configs=[
                        config(name=key, config_operation=what, value=value) for key, what, value in changes
                    ],
                )
            ]
        )

    def wrong(_version: int) -> Sequence[Labelled]:
        return [
            *((f"{key}={value}", ask((key, put, value))) for key, value in BAD_VALUES),
            ("operation 4", ask(("retention.ms", 4, "9"))),
            ("operation -1", ask(("retention.ms", -1, "9"))),
            ("append to no list", ask(("retention.ms", append, "9"))),
            ("subtract from no list", ask(("retention.ms", subtract, "9"))),
            ("subtract all", ask(("cleanup.policy", subtract, "compact,delete"))),
            ("append bad", ask(("cleanup.policy", append, "burn"))),
            ("append null", ask(("cleanup.policy", append, None))),
            ("delete unknown", ask(("no.such.key", delete, None))),
            ("delete what is not set", ask(("segment.bytes", delete, None))),
            ("key twice", ask(("retention.ms", put, "9"), ("retention.ms", put, "10"))),
            ("key twice, two operations",
             ask(("cleanup.policy", append, "compact"), ("cleanup.policy", subtract, "delete"))),
            ("unknown topic", ask(("retention.ms", put, "9"), name="unknown")),
            ("empty topic", ask(("retention.ms", put, "9"), name="")),
            ("unknown broker", ask(("log.retention.ms", put, "9"), kind=OF_BROKER, name="7")),
            ("broker without number", ask(("log.retention.ms", put, "9"), kind=OF_BROKER, name="x")),
            ("fixed key of a broker", ask(("broker.id", put, "9"), kind=OF_BROKER, name="0")),
            ("type 0", ask(("retention.ms", put, "9"), kind=0)),
        ]  # fmt: skip

    def right(_version: int) -> Sequence[Labelled]:
        return [
            ("set", ask(("retention.ms", put, "7000"))),
            ("append", ask(("cleanup.policy", append, "delete"))),
            ("subtract", ask(("cleanup.policy", subtract, "delete"))),
            ("delete", ask(("retention.ms", delete, None))),
            ("set and delete", ask(("segment.ms", put, "60000"), ("cleanup.policy", delete, None))),
            ("of a broker", ask(("log.cleaner.threads", put, "1"), kind=OF_BROKER, name="0")),
            ("of all brokers", ask(("log.cleaner.backoff.ms", put, "15000"), kind=OF_BROKER, name="")),
        ]

    world.exercise(44, right, wrong=wrong, limit=25)


def log_dirs(world: World) -> None:
    topic = DescribeLogDirsRequest.DescribableLogDirTopic

    def ask(*topics: tuple[str, list[int]]) -> DescribeLogDirsRequest:
        return DescribeLogDirsRequest(topics=[topic(topic=name, partitions=list_) for name, list_ in topics])

    world.exercise(
        35,
        lambda _version: [
            ("one", ask((TOPIC, [0]))),
            ("none", ask()),
            ("two", ask((TOPIC, [0]), ("growing", [0, 1]))),
            ("all", DescribeLogDirsRequest(topics=None)),
        ],
        wrong=lambda _version: [
            ("unknown topic", ask(("unknown", [0]))),
            ("unknown partition", ask((TOPIC, [9]))),
            ("negative partition", ask((TOPIC, [-1]))),
            ("no partitions", ask((TOPIC, []))),
            ("topic twice", ask((TOPIC, [0]), (TOPIC, [0]))),
        ],
    )


def elections(world: World) -> None:
    topic = ElectLeadersRequest.TopicPartitions

    def ask(version: int, *topics: tuple[str, list[int]], kind: int = 0) -> ElectLeadersRequest:
        request = ElectLeadersRequest(
            topic_partitions=[topic(topic=name, partitions=list_) for name, list_ in topics],
            timeout_ms=TIMEOUT_MS,
        )
        if version >= 1:
            request.election_type = kind
        return request

    world.exercise(
        43,
        lambda version: [
            ("one", ask(version, (TOPIC, [0]))),
            ("two", ask(version, ("growing", [0, 1]))),
            ("none", ask(version)),
        ],
        wrong=lambda version: [
            ("unknown topic", ask(version, ("unknown", [0]))),
            ("unknown partition", ask(version, (TOPIC, [9]))),
            ("negative partition", ask(version, (TOPIC, [-1]))),
            ("unclean", ask(version, (TOPIC, [0]), kind=1)),
            ("type 2", ask(version, (TOPIC, [0]), kind=2)),
            ("type -1", ask(version, (TOPIC, [0]), kind=-1)),
            ("topic twice", ask(version, (TOPIC, [0]), (TOPIC, [0]))),
        ],
    )


def moves(world: World) -> None:
    """AlterPartitionReassignments and ListPartitionReassignments; with one broker there is nowhere to go."""

    def ask(
        replicas: list[int] | None, topic: str = TOPIC, partition: int = 0
    ) -> AlterPartitionReassignmentsRequest:
        one = AlterPartitionReassignmentsRequest.ReassignablePartition(
            partition_index=partition, replicas=replicas
        )
        return AlterPartitionReassignmentsRequest(
            timeout_ms=TIMEOUT_MS,
            topics=[AlterPartitionReassignmentsRequest.ReassignableTopic(name=topic, partitions=[one])],
        )

    world.exercise(
        45,
        lambda _version: [
            ("to where it is", ask([0])),
            ("nothing to cancel", ask(None)),
            ("nothing", AlterPartitionReassignmentsRequest(timeout_ms=TIMEOUT_MS, topics=[])),
        ],
        wrong=lambda _version: [
            ("unknown topic", ask([0], "unknown")),
            ("unknown partition", ask([0], partition=9)),
            ("negative partition", ask([0], partition=-1)),
            ("to nobody", ask([])),
            ("to an unknown broker", ask([7])),
            ("to a negative broker", ask([-1])),
            ("twice to one", ask([0, 0])),
            ("cancel in an unknown topic", ask(None, "unknown")),
        ],
    )
    listed = ListPartitionReassignmentsRequest
    wanted = listed.ListPartitionReassignmentsTopics

    def listing(topic: str, *indexes: int) -> ListPartitionReassignmentsRequest:
        return listed(topics=[wanted(name=topic, partition_indexes=list(indexes))])

    world.exercise(
        46,
        lambda _version: [("all", listed()), ("one", listing(TOPIC, 0)), ("two", listing(TOPIC, 0, 1))],
        wrong=lambda _version: [
            ("unknown topic", listing("unknown", 0)),
            ("unknown partition", listing(TOPIC, 9)),
            ("negative partition", listing(TOPIC, -1)),
            ("no partitions", listing(TOPIC)),
            ("none", listed(topics=[])),
        ],
    )


def producers(world: World) -> None:
    """DescribeProducers."""
    asked = DescribeProducersRequest
    world.create_topic("with-producers", 2)
    for name in ("first", "second"):
        world.producer_id(name)
        records = Made(lambda found: producer_batch(found, 0, 0, 2), (Ref(name),))
        world.pair.ask("fill", produce_request("with-producers", records), 9)

    def ask(topic: str, *indexes: int) -> DescribeProducersRequest:
        return asked(topics=[asked.TopicRequest(name=topic, partition_indexes=list(indexes))])

    world.exercise(
        61,
        lambda _version: [
            ("two producers", ask("with-producers", 0)),
            ("none", ask("with-producers", 1)),
            ("both partitions", ask("with-producers", 0, 1)),
        ],
        wrong=lambda _version: [
            ("unknown topic", ask("unknown", 0)),
            ("unknown partition", ask("with-producers", 9)),
            ("negative partition", ask("with-producers", -1)),
            ("empty topic", ask("", 0)),
            ("bad topic", ask("a/b", 0)),
            ("partition twice", ask("with-producers", 0, 0)),
        ],
    )


def log_dir_moves(world: World) -> None:
    log_dir, named = (
        AlterReplicaLogDirsRequest.AlterReplicaLogDir,
        AlterReplicaLogDirsRequest.AlterReplicaLogDirTopic,
    )

    here = Ref("log directory")
    world.pair.ask(
        "where the logs are",
        DescribeLogDirsRequest(topics=[]),
        1,
        capture={here.name: lambda reply: reply.results[0].log_dir},
    )

    def ask(path: str | Ref, *topics: tuple[str, list[int]]) -> AlterReplicaLogDirsRequest:
        return AlterReplicaLogDirsRequest(
            dirs=[
                log_dir(
                    path=path,  # type: ignore[arg-type]
                    topics=[named(name=name, partitions=indexes) for name, indexes in topics],
                )
            ]
        )

    world.exercise(
        34,
        lambda _version: [
            ("nowhere", ask("/no/such/directory", (TOPIC, [0]))),
            ("to where it is", ask(here, (TOPIC, [0]), ("growing", [0, 1]))),
            ("nothing", AlterReplicaLogDirsRequest(dirs=[])),
        ],
        wrong=lambda _version: [
            ("unknown topic, to where it is not", ask(here, ("unknown", [0]))),
            ("unknown partition, to where it is not", ask(here, (TOPIC, [0, 9, -1]))),
            ("no topics", ask("/no/such/directory")),
            ("no partitions", ask("/no/such/directory", (TOPIC, []))),
            ("a relative path", ask("data", (TOPIC, [0, 1]))),
            ("an empty path", ask("", (TOPIC, [0]))),
            ("unknown topic", ask("/no/such/directory", ("unknown", [0]))),
            ("negative partition", ask("/no/such/directory", (TOPIC, [-1]))),
            ("a long name", ask("/no/such/directory", ("t" * 220, [0]))),
            ("topic twice", ask("/no/such/directory", (TOPIC, [0]), (TOPIC, [0]))),
        ],
    )
