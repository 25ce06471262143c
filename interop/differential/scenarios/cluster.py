"""Metadata, FindCoordinator, ApiVersions, DescribeCluster."""

from collections.abc import Sequence

from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.messages import (
    ApiVersionsRequest,
    DescribeClusterRequest,
    FindCoordinatorRequest,
    MetadataRequest,
)

FIRST_METADATA_WITH_TOPIC_IDS = 12
FIRST_METADATA_WITH_NULL_NAMES = 10
FIRST_BATCHED_LOOKUP = 4
ODD_ID = bytes(range(16))


def metadata(world: World) -> None:
    world.create_topic("metadata-a", 3)
    world.create_topic("metadata-b", 1)
    of_topic = MetadataRequest.MetadataRequestTopic

    def ask(version: int, *names: str, **more: bool) -> MetadataRequest:
        request = MetadataRequest(topics=[of_topic(name=name) for name in names], **more)
        if version >= 4:
            request.allow_auto_topic_creation = False
        return request

    def right(version: int) -> Sequence[Labelled]:
        found = [
            ("one", ask(version, "metadata-a")),
            ("two", ask(version, "metadata-b", "metadata-a")),
            ("internal", ask(version, "__consumer_offsets")),
        ]
        if version >= 1:
            found.append(("none", ask(version)))
        if version >= 4:
            allowed = ask(version, "metadata-a")
            allowed.allow_auto_topic_creation = True
            found.append(("auto creation allowed", allowed))
        if version >= 8:
            found.append(
                ("topic operations", ask(version, "metadata-a", include_topic_authorized_operations=True))
            )
        if 8 <= version <= 10:
            found.append(
                ("cluster operations", ask(version, "metadata-a", include_cluster_authorized_operations=True))
            )
        if version >= FIRST_METADATA_WITH_TOPIC_IDS:
            by_id = MetadataRequest(topics=[of_topic(topic_id=world.topic_id("metadata-a"), name=None)])  # type: ignore[arg-type]
            found.append(("by id", by_id))
        return found

    def wrong(version: int) -> Sequence[Labelled]:
        found = [
            ("unknown", ask(version, "unknown")),
            ("known and unknown", ask(version, "unknown", "metadata-a", "unknown-2")),
            ("empty name", ask(version, "")),
            ("bad name", ask(version, "a/b")),
            ("dots", ask(version, "..")),
            ("twice", ask(version, "metadata-a", "metadata-a")),
            ("unknown twice", ask(version, "unknown", "unknown")),
            ("long name", ask(version, "x" * 250)),
        ]
        if version >= FIRST_METADATA_WITH_NULL_NAMES:
            found += [
                ("null name", MetadataRequest(topics=[of_topic(name=None)])),
                ("unknown id", MetadataRequest(topics=[of_topic(name=None, topic_id=ODD_ID)])),
                ("id and name", MetadataRequest(topics=[of_topic(name="metadata-a", topic_id=ODD_ID)])),
                ("id here, name there", MetadataRequest(topics=[
                    of_topic(name="metadata-a"),
                    of_topic(name=None, topic_id=world.topic_id("metadata-b")),  # type: ignore[arg-type]
                ])),
            ]  # fmt: skip
        return found

    world.exercise(3, right, wrong=wrong)


def find_coordinator(world: World) -> None:
    def ask(version: int, *keys: str, kind: int = 0) -> FindCoordinatorRequest:
        if version >= FIRST_BATCHED_LOOKUP:
            return FindCoordinatorRequest(key_type=kind, coordinator_keys=list(keys))
        request = FindCoordinatorRequest(key=keys[0] if keys else "")
        if version >= 1:
            request.key_type = kind
        return request

    def right(version: int) -> Sequence[Labelled]:
        return [
            ("group", ask(version, "group")),
            ("another", ask(version, "another")),
            ("two", ask(version, "group", "another")),
            ("long", ask(version, "g" * 300)),
        ]

    def wrong(version: int) -> Sequence[Labelled]:
        return [
            ("empty", ask(version, "")),
            ("none", ask(version)),
            ("twice", ask(version, "group", "group")),
            ("type 2", ask(version, "group", kind=2)),
            ("type 3", ask(version, "group", kind=3)),
            ("type -1", ask(version, "group", kind=-1)),
            ("share key", ask(version, "group:AAECAwQFBgcICQoLDA0ODw:0", kind=2)),
        ]

    if 11 in world.pair.versions:
        world.exercise(10, right, wrong=wrong)


def api_versions(world: World) -> None:
    def ask(version: int, name: str = "client", number: str = "1.0") -> ApiVersionsRequest:
        if version < 3:
            return ApiVersionsRequest()
        return ApiVersionsRequest(client_software_name=name, client_software_version=number)

    def right(version: int) -> Sequence[Labelled]:
        return [
            ("plain", ask(version)),
            ("dotted", ask(version, "a-b.c", "1.2-3.rc4")),
            ("again", ask(version, "client", "1.0")),
        ]

    def wrong(version: int) -> Sequence[Labelled]:
        strange = ("", "-", "-a", "a-", "a b", "é", "a/b", "x" * 300)
        return [(f"name {text[:8]!r}", ask(version, text)) for text in strange] + [
            (f"version {text[:8]!r}", ask(version, "client", text)) for text in strange
        ]

    world.exercise(18, right, wrong=wrong)


def describe_cluster(world: World) -> None:
    def right(_version: int) -> Sequence[Labelled]:
        return [
            ("plain", DescribeClusterRequest()),
            ("operations", DescribeClusterRequest(include_cluster_authorized_operations=True)),
            ("again", DescribeClusterRequest()),
        ]

    def wrong(version: int) -> Sequence[Labelled]:
        if version < 1:
            return []
        return [
            (f"endpoint type {kind}", DescribeClusterRequest(endpoint_type=kind))
            for kind in (0, 2, 3, -1, 127)
        ]

    world.exercise(60, right, wrong=wrong)
