"""Consumer groups: membership, offsets, administration."""

import struct
from collections.abc import Sequence

from interop.differential.refs import Ref
from interop.differential.scenarios.world import Labelled, World
from pybroker.protocol.messages import (
    DeleteGroupsRequest,
    DescribeGroupsRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    ListGroupsRequest,
    OffsetCommitRequest,
    OffsetDeleteRequest,
    OffsetFetchRequest,
    SyncGroupRequest,
)

TOPIC = "group-topic"
STEADY = "steady"
"""A group with one member that stays."""

SESSION_MS = 300_000
"""Nobody's session ends during a run."""

MEMBER_ID_REQUIRED_FROM = 4
STATIC_MEMBERS_FROM = 5
UNKNOWN = "nobody"


def subscription(*topics: str) -> bytes:
    """A consumer's subscription, version 0 of the consumer protocol."""
    names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in topics)
    return struct.pack(">hi", 0, len(topics)) + names + struct.pack(">i", -1)


def join_request(
    group: str, version: int, member: str | Ref = "", *, protocol: str = "range", instance: str | None = None
) -> JoinGroupRequest:
    request = JoinGroupRequest(
        group_id=group,
        session_timeout_ms=SESSION_MS,
        member_id=member,  # type: ignore[arg-type]
        protocol_type="consumer",
        protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name=protocol, metadata=subscription(TOPIC))],
    )
    if version >= 1:
        request.rebalance_timeout_ms = SESSION_MS
    if version >= STATIC_MEMBERS_FROM:
        request.group_instance_id = instance
    return request


def join(
    world: World, group: str, version: int, *, connection: str = "main", instance: str | None = None
) -> Ref:
    """Join as a new member and wait for the group; the member's id."""
    member = Ref(f"{group} member {connection} {instance}")
    keep = {member.name: lambda reply: reply.member_id}
    request = join_request(group, version, instance=instance)
    replies = world.pair.ask(f"{group}: join", request, version, connection=connection, capture=keep)
    if version >= MEMBER_ID_REQUIRED_FROM and instance is None and all(replies):
        again = join_request(group, version, member)
        world.pair.ask(f"{group}: join with the id", again, version, connection=connection)
    return member


def sync_request(
    group: str, generation: int, member: str | Ref, version: int, *members: Ref
) -> SyncGroupRequest:
    request = SyncGroupRequest(
        group_id=group,
        generation_id=generation,
        member_id=member,  # type: ignore[arg-type]
        assignments=[
            SyncGroupRequest.SyncGroupRequestAssignment(member_id=one, assignment=b"for %d" % index)  # type: ignore[arg-type]
            for index, one in enumerate(members)
        ],
    )
    if version >= 5:
        request.protocol_type, request.protocol_name = "consumer", "range"
    return request


def heartbeat_request(group: str, generation: int, member: str | Ref) -> HeartbeatRequest:
    return HeartbeatRequest(group_id=group, generation_id=generation, member_id=member)  # type: ignore[arg-type]


def leave_request(group: str, member: str | Ref, version: int) -> LeaveGroupRequest:
    if version >= 3:
        return LeaveGroupRequest(
            group_id=group,
            members=[LeaveGroupRequest.MemberIdentity(member_id=member)],  # type: ignore[arg-type]
        )
    return LeaveGroupRequest(group_id=group, member_id=member)  # type: ignore[arg-type]


def membership(world: World) -> None:
    """The life of a group with two members, in the terms of each version of JoinGroup."""
    world.create_topic(TOPIC, 3)
    for version in world.versions(11):
        _life(world, f"life-v{version}", version)
        if version >= STATIC_MEMBERS_FROM:
            _static_life(world, f"static-v{version}", version)


def _life(world: World, group: str, version: int) -> None:
    ask = world.pair.ask
    sync, beat, leave = (min(version, world.latest(key)) for key in (14, 12, 13))
    first = join(world, group, version)
    ask(f"{group}: heartbeat before the sync", heartbeat_request(group, 1, first), beat)
    ask(f"{group}: sync", sync_request(group, 1, first, sync, first), sync)
    ask(f"{group}: sync again", sync_request(group, 1, first, sync, first), sync)
    ask(f"{group}: heartbeat", heartbeat_request(group, 1, first), beat)
    ask(f"{group}: heartbeat of old", heartbeat_request(group, 0, first), beat, wrong=True)
    ask(f"{group}: heartbeat of nobody", heartbeat_request(group, 1, UNKNOWN), beat, wrong=True)
    ask(f"{group}: sync of old", sync_request(group, 0, first, sync), sync, wrong=True)
    ask(f"{group}: sync of nobody", sync_request(group, 1, UNKNOWN, sync), sync, wrong=True)
    other = join_request(group, version, first, protocol="unheard-of")
    other.protocol_type = "connect"
    ask(f"{group}: other protocol type", other, version, wrong=True)
    ask(f"{group}: join as nobody", join_request(group, version, UNKNOWN), version, wrong=True)
    ask(f"{group}: join again", join_request(group, version, first), version)
    ask(f"{group}: heartbeat in the new generation", heartbeat_request(group, 2, first), beat)
    ask(f"{group}: sync in the new generation", sync_request(group, 2, first, sync, first), sync)
    second = _second_joins(world, group, version, first, beat)
    ask(f"{group}: leader syncs", sync_request(group, 3, first, sync, first, second), sync)
    ask(f"{group}: other syncs", sync_request(group, 3, second, sync), sync, connection="two")
    ask(f"{group}: describe", DescribeGroupsRequest(groups=[group]), world.latest(15))
    ask(f"{group}: delete in use", DeleteGroupsRequest(groups_names=[group]), world.latest(42), wrong=True)
    ask(f"{group}: second leaves", leave_request(group, second, leave), leave, connection="two")
    ask(f"{group}: second leaves twice", leave_request(group, second, leave), leave, wrong=True)
    ask(f"{group}: heartbeat after that", heartbeat_request(group, 3, first), beat)
    ask(f"{group}: first leaves", leave_request(group, first, leave), leave)
    ask(f"{group}: heartbeat after all", heartbeat_request(group, 3, first), beat, wrong=True)
    ask(f"{group}: describe empty", DescribeGroupsRequest(groups=[group]), world.latest(15))
    ask(f"{group}: delete", DeleteGroupsRequest(groups_names=[group]), world.latest(42))
    ask(f"{group}: describe dead", DescribeGroupsRequest(groups=[group]), world.latest(15))


def _second_joins(world: World, group: str, version: int, first: Ref, beat: int) -> Ref:
    """The second member's join waits until the first one has joined again."""
    pair = world.pair
    second = Ref(f"{group} second")
    keep = {second.name: lambda reply: reply.member_id}
    request = join_request(group, version)
    if version >= MEMBER_ID_REQUIRED_FROM:
        pair.ask(f"{group}: second asks for an id", request, version, connection="two", capture=keep)
        request = join_request(group, version, second)
    pair.send(request, version, connection="two")
    world.until_rebalancing(heartbeat_request(group, 2, first), beat)
    pair.ask(f"{group}: heartbeat while rebalancing", heartbeat_request(group, 2, first), beat)
    pair.ask(f"{group}: first joins again", join_request(group, version, first), version)
    pair.receive(f"{group}: second joins", request, version, connection="two", capture=keep)
    return second


def _static_life(world: World, group: str, version: int) -> None:
    ask = world.pair.ask
    sync, leave = min(version, world.latest(14)), min(version, world.latest(13))
    first = join(world, group, version, instance="one")
    ask(f"{group}: sync", sync_request(group, 1, first, sync, first), sync)
    again = join(world, group, version, connection="two", instance="one")
    ask(f"{group}: the old one is fenced", _static_beat(group, 1, first), 3, wrong=True)
    ask(f"{group}: the new one beats", _static_beat(group, 1, again), 3)
    ask(f"{group}: wrong instance", _static_beat(group, 1, again, "two"), 3, wrong=True)
    ask(f"{group}: describe", DescribeGroupsRequest(groups=[group]), world.latest(15))
    if leave >= 3:
        by_instance = LeaveGroupRequest(
            group_id=group,
            members=[
                LeaveGroupRequest.MemberIdentity(member_id="", group_instance_id=name)
                for name in ("two", "one")
            ],
        )
        ask(f"{group}: removed by instance", by_instance, leave)


def _static_beat(group: str, generation: int, member: Ref, instance: str = "one") -> HeartbeatRequest:
    request = heartbeat_request(group, generation, member)
    request.group_instance_id = instance
    return request


def requests(world: World) -> None:
    """Each API of membership by itself, right and wrong, in every version."""
    steady = join(world, STEADY, 3)
    world.pair.ask("steady sync", sync_request(STEADY, 1, steady, 3, steady), 3)

    world.exercise(
        11,
        lambda version: [(f"alone {n}", join_request("alone-{n}", version)) for n in range(3)],
        wrong=lambda version: [
            ("empty group", join_request("", version)),
            ("unknown member", join_request("alone-{n}", version, UNKNOWN)),
            ("other protocols", join_request(STEADY, version, steady, protocol="sticky")),
        ],
        limit=25,
    )
    world.exercise(
        12,
        lambda _version: [
            (f"beat of generation {at}", heartbeat_request(STEADY, at, steady)) for at in (1, 0, -1)
        ],
        wrong=lambda _version: [
            ("unknown group", heartbeat_request("no-group", 1, steady)),
            ("empty group", heartbeat_request("", 1, steady)),
            ("unknown member", heartbeat_request(STEADY, 1, UNKNOWN)),
            ("empty member", heartbeat_request(STEADY, 1, "")),
            ("late generation", heartbeat_request(STEADY, 900, steady)),
        ],
    )
    world.exercise(
        13,
        lambda version: [(f"leave of nobody {n}", leave_request(STEADY, UNKNOWN, version)) for n in range(3)],
        wrong=lambda version: [
            ("unknown group", leave_request("no-group", steady, version)),
            ("empty group", leave_request("", steady, version)),
            ("empty member", leave_request(STEADY, "", version)),
        ],
    )
    world.exercise(
        14,
        lambda version: [
            (f"sync {n}", sync_request(STEADY, 900 + n, steady, version, steady)) for n in range(3)
        ],
        wrong=lambda version: [
            ("unknown group", sync_request("no-group", 1, steady, version)),
            ("empty group", sync_request("", 1, steady, version)),
            ("unknown member", sync_request(STEADY, 1, UNKNOWN, version)),
            ("empty member", sync_request(STEADY, 1, "", version)),
        ],
    )


def commit_request(
    group: str, version: int, offset: int = 5, *, topic: str = TOPIC, partition: int = 0
) -> OffsetCommitRequest:
    asked = OffsetCommitRequest.OffsetCommitRequestPartition(
        partition_index=partition, committed_offset=offset, committed_metadata="note"
    )
    if version >= 6:
        asked.committed_leader_epoch = 0
    topics = [OffsetCommitRequest.OffsetCommitRequestTopic(name=topic, partitions=[asked])]
    return OffsetCommitRequest(group_id=group, topics=topics)


def fetch_offsets(
    group: str, version: int, *partitions: int, topic: str | None = TOPIC
) -> OffsetFetchRequest:
    if version < 8:
        wanted = OffsetFetchRequest.OffsetFetchRequestTopic(
            name=topic or "", partition_indexes=list(partitions)
        )
        return OffsetFetchRequest(group_id=group, topics=None if topic is None else [wanted])
    of_group = OffsetFetchRequest.OffsetFetchRequestTopics(
        name=topic or "", partition_indexes=list(partitions)
    )
    return OffsetFetchRequest(
        groups=[
            OffsetFetchRequest.OffsetFetchRequestGroup(
                group_id=group, topics=None if topic is None else [of_group]
            )
        ]
    )


def offsets(world: World) -> None:
    """Offsets of groups without members, and of the steady one."""
    steady = Ref(f"{STEADY} member main None")

    def wrong_commits(version: int) -> Sequence[Labelled]:
        found = [
            ("unknown topic", commit_request("free", version, topic="unknown")),
            ("unknown partition", commit_request("free", version, partition=9)),
            ("negative partition", commit_request("free", version, partition=-1)),
            ("negative offset", commit_request("free", version, offset=-1)),
            ("very negative offset", commit_request("free", version, offset=-5)),
            ("huge offset", commit_request("free", version, offset=2**63 - 1)),
            ("group with members", commit_request(STEADY, version)),
            ("empty group", commit_request("", version)),
        ]
        long = commit_request("free", version)
        long.topics[0].partitions[0].committed_metadata = "x" * 5000
        found.append(("long note", long))
        if version >= 1:
            for label, generation, member in (
                ("as the member", 1, steady), ("as the member of old", 0, steady),
                ("as nobody", 1, UNKNOWN), ("as a member without generation", -1, steady),
            ):  # fmt: skip
                request = commit_request(STEADY, version)
                request.generation_id_or_member_epoch = generation
                request.member_id = member  # type: ignore[assignment]
                found.append((label, request))
            unknown = commit_request("no-such-group", version)
            unknown.generation_id_or_member_epoch, unknown.member_id = 3, UNKNOWN
            found.append(("unknown group with a generation", unknown))
        return found

    world.exercise(
        8,
        lambda version: [(f"offset {at}", commit_request("free", version, at)) for at in (0, 5, 2**40)],
        wrong=wrong_commits,
        limit=30,
    )
    world.exercise(
        9,
        lambda version: [
            ("one", fetch_offsets("free", version, 0)),
            ("two", fetch_offsets("free", version, 0, 1)),
            ("steady", fetch_offsets(STEADY, version, 0)),
            *([("all", fetch_offsets("free", version, topic=None))] if version >= 2 else []),
        ],
        wrong=lambda version: [
            ("unknown group", fetch_offsets("no-group", version, 0)),
            ("empty group", fetch_offsets("", version, 0)),
            ("unknown topic", fetch_offsets("free", version, 0, topic="unknown")),
            ("unknown partition", fetch_offsets("free", version, 9)),
            ("negative partition", fetch_offsets("free", version, -1)),
            ("no partitions", fetch_offsets("free", version)),
            ("partition twice", fetch_offsets("free", version, 0, 0)),
        ],
    )


def administration(world: World) -> None:
    def listing(version: int, *states: str, types: tuple[str, ...] = ()) -> ListGroupsRequest:
        request = ListGroupsRequest()
        if version >= 4:
            request.states_filter = list(states)
        if version >= 5:
            request.types_filter = list(types)
        return request

    world.exercise(
        15,
        lambda version: [
            ("steady", DescribeGroupsRequest(groups=[STEADY])),
            ("free", DescribeGroupsRequest(groups=["free"])),
            ("both", DescribeGroupsRequest(groups=[STEADY, "free"])),
            *(
                [("operations", DescribeGroupsRequest(groups=[STEADY], include_authorized_operations=True))]
                if version >= 3
                else []
            ),
        ],
        wrong=lambda _version: [
            ("unknown", DescribeGroupsRequest(groups=["no-group"])),
            ("empty", DescribeGroupsRequest(groups=[""])),
            ("twice", DescribeGroupsRequest(groups=[STEADY, STEADY])),
        ],
    )
    world.exercise(
        16,
        lambda version: [
            ("all", listing(version)),
            ("stable", listing(version, "Stable")),
            ("classic", listing(version, types=("classic",))),
        ],
        wrong=lambda version: [
            ("unheard-of state", listing(version, "Lazy")),
            ("empty state", listing(version, "")),
            ("other case", listing(version, "sTABLE")),
            ("unheard-of type", listing(version, types=("odd",))),
            ("consumer type", listing(version, types=("Consumer",))),
        ],
    )

    def offset_delete(group: str, topic: str = TOPIC, *partitions: int) -> OffsetDeleteRequest:
        asked = [
            OffsetDeleteRequest.OffsetDeleteRequestPartition(partition_index=index) for index in partitions
        ]
        return OffsetDeleteRequest(
            group_id=group,
            topics=[OffsetDeleteRequest.OffsetDeleteRequestTopic(name=topic, partitions=asked)],
        )

    world.exercise(
        47,
        lambda _version: [
            ("one", offset_delete("free", TOPIC, 0)),
            ("again", offset_delete("free", TOPIC, 0)),
            ("two", offset_delete("free", TOPIC, 1, 2)),
        ],
        wrong=lambda _version: [
            ("unknown group", offset_delete("no-group", TOPIC, 0)),
            ("empty group", offset_delete("", TOPIC, 0)),
            ("unknown topic", offset_delete("free", "unknown", 0)),
            ("unknown partition", offset_delete("free", TOPIC, 9)),
            ("subscribed topic", offset_delete(STEADY, TOPIC, 0)),
        ],
    )
    world.exercise(
        42,
        lambda _version: [
            ("free", DeleteGroupsRequest(groups_names=["free"])),
            ("none", DeleteGroupsRequest(groups_names=[])),
            ("gone", DeleteGroupsRequest(groups_names=["free"])),
        ],
        wrong=lambda _version: [
            ("unknown", DeleteGroupsRequest(groups_names=["no-group"])),
            ("empty", DeleteGroupsRequest(groups_names=[""])),
            ("with members", DeleteGroupsRequest(groups_names=[STEADY])),
            ("twice", DeleteGroupsRequest(groups_names=["no-group", "no-group"])),
            ("one of each", DeleteGroupsRequest(groups_names=[STEADY, "no-group", ""])),
        ],
    )
