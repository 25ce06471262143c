"""Members of a classic group on both servers, and what they say to it.

Joins and syncs that wait are sent on a connection of their own for each member; a step that has to find them
on both servers waits until DescribeGroups shows the member.
"""

from collections.abc import Callable, Sequence
from typing import Any

from interop.differential.refs import Ref
from interop.differential.scenarios.groups import (
    MEMBER_ID_REQUIRED_FROM,
    SESSION_MS,
    STATIC_MEMBERS_FROM,
    TOPIC,
    commit_request,
    subscription,
)
from interop.differential.scenarios.world import World
from interop.support.waiting import wait_until
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import (
    DescribeGroupsRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)

BATCHED_LEAVES_FROM = 3
CHECKS_PROTOCOL_FROM = 5
REBALANCE_IN_PROGRESS = 27
PROTOCOLS = ("range",)


class Member:
    """A consumer on both servers. Its id is captured when a server gives it one."""

    def __init__(self, group: "Group", name: str, instance: str | None, protocols: Sequence[str]) -> None:
        self.name = f"{group.name} {name}"
        self.short_name = name
        self.instance = instance
        self.protocols = protocols
        self.topics: tuple[str, ...] = (TOPIC,)
        self.id: Ref | str = ""
        self.session_ms = self.rebalance_ms = SESSION_MS
        self.joining: JoinGroupRequest | None = None
        self.syncing: SyncGroupRequest | None = None


class Group:
    """A group on both servers, whose members speak the versions of one version of JoinGroup's time."""

    def __init__(self, world: World, name: str, version: int) -> None:
        self.world = world
        self.name = f"{name}-v{version}"
        self.version = version
        self.generation = 0
        self._members: list[Member] = []

    def member(self, name: str, instance: str | None = None, protocols: Sequence[str] = PROTOCOLS) -> Member:
        member = Member(self, name, instance, protocols)
        self._members.append(member)
        return member

    def ask(self, label: str, request: Message, key: int, **more: Any) -> None:
        version = min(self.version, self.world.latest(key))
        self.world.pair.ask(f"{self.name}: {label}", request, version, **more)

    # -- joining

    def send_join(self, member: Member) -> None:
        """Without waiting for the reply: for :meth:`receive_join`."""
        keep = {member.name: lambda reply: reply.member_id}
        request = self.join_request(member)
        if self.version >= MEMBER_ID_REQUIRED_FROM and not member.id and member.instance is None:
            self.ask(f"{member.short_name} asks for an id", request, 11, capture=keep)
            member.id = Ref(member.name)
            request = self.join_request(member)
        member.joining = request
        self.world.pair.send(request, self.version, connection=member.name)

    def receive_join(self, label: str, member: Member, *, wrong: bool = False) -> None:
        keep = {} if wrong else {member.name: lambda reply: reply.member_id}
        assert member.joining is not None
        self.world.pair.receive(
            f"{self.name}: {label}", member.joining, self.version,
            connection=member.name, capture=keep, wrong=wrong,
        )  # fmt: skip
        if not wrong:
            member.id = Ref(member.name)

    def receive_joins(self, label: str, *members: Member) -> None:
        """What all are told. The leader, who stands first, hears the others' ids: they are to be known."""
        for member in reversed(members):
            self.receive_join(f"{label}: {member.short_name} joins", member)
        self.generation += 1

    def join(self, label: str, member: Member, *, wrong: bool = False) -> None:
        """A join that is answered at once."""
        self.send_join(member)
        self.receive_join(label, member, wrong=wrong)

    def rebalance(self, label: str, *members: Member, leaving: Sequence[Member] = ()) -> None:
        """The first of those who are in the group already joins again and the others follow; new ones are
        known before. What all are told is compared."""
        known = [member for member in members if member.id]
        for new in (member for member in members if not member.id):
            self.send_join(new)
            self.until_counted(new)
        if len(known) < len(members):
            self.until_rebalancing(known[0])
        for member in known:
            self.send_join(member)
            if member is not known[-1] or leaving:
                self.until_rebalancing(known[-1] if member is not known[-1] else leaving[0])
        for gone in leaving:
            self.leave(f"{label}: {gone.short_name} leaves amid", gone)
        self.receive_joins(label, *members)

    def join_request(self, member: Member) -> JoinGroupRequest:
        request = JoinGroupRequest(
            group_id=self.name,
            session_timeout_ms=member.session_ms,
            member_id=member.id,  # type: ignore[arg-type]
            protocol_type="consumer",
            protocols=[
                JoinGroupRequest.JoinGroupRequestProtocol(name=name, metadata=subscription(*member.topics))
                for name in member.protocols
            ],
        )
        if self.version >= 1:
            request.rebalance_timeout_ms = member.rebalance_ms
        if self.version >= STATIC_MEMBERS_FROM:
            request.group_instance_id = member.instance
        return request

    # -- what they say

    def send_sync(self, member: Member, *assigned: Member, generation: int | None = None) -> None:
        version = min(self.version, self.world.latest(14))
        request = SyncGroupRequest(
            group_id=self.name,
            generation_id=self.generation if generation is None else generation,
            member_id=member.id,  # type: ignore[arg-type]
            assignments=[
                SyncGroupRequest.SyncGroupRequestAssignment(
                    member_id=one.id,  # type: ignore[arg-type]
                    assignment=b"for " + one.short_name.encode(),
                )
                for one in assigned
            ],
        )
        if version >= BATCHED_LEAVES_FROM:
            request.group_instance_id = member.instance
        if version >= CHECKS_PROTOCOL_FROM:
            request.protocol_type, request.protocol_name = "consumer", "range"
        member.syncing = request
        self.world.pair.send(request, version, connection=member.name)

    def receive_sync(self, label: str, member: Member, *, wrong: bool = False) -> None:
        assert member.syncing is not None
        self.world.pair.receive(
            f"{self.name}: {label}", member.syncing, min(self.version, self.world.latest(14)),
            connection=member.name, wrong=wrong,
        )  # fmt: skip

    def sync(self, label: str, member: Member, *assigned: Member, **more: Any) -> None:
        """A sync that is answered at once."""
        wrong = more.pop("wrong", False)
        self.send_sync(member, *assigned, **more)
        self.receive_sync(label, member, wrong=wrong)

    def heartbeat(self, member: Member, generation: int | None = None) -> HeartbeatRequest:
        request = HeartbeatRequest(
            group_id=self.name,
            generation_id=self.generation if generation is None else generation,
            member_id=member.id,  # type: ignore[arg-type]
        )
        if min(self.version, self.world.latest(12)) >= BATCHED_LEAVES_FROM:
            request.group_instance_id = member.instance
        return request

    def beat(self, label: str, *members: Member, generation: int | None = None, wrong: bool = False) -> None:
        for member in members:
            self.ask(
                f"{label}: {member.short_name} beats", self.heartbeat(member, generation), 12, wrong=wrong
            )

    def leave(self, label: str, *members: Member, wrong: bool = False) -> None:
        if min(self.version, self.world.latest(13)) < BATCHED_LEAVES_FROM:
            for member in members:
                request = LeaveGroupRequest(group_id=self.name, member_id=member.id)  # type: ignore[arg-type]
                self.ask(label, request, 13, wrong=wrong)
            return
        identities = [
            LeaveGroupRequest.MemberIdentity(
                member_id=member.id,  # type: ignore[arg-type]
                group_instance_id=member.instance,
            )
            for member in members
        ]
        self.ask(label, LeaveGroupRequest(group_id=self.name, members=identities), 13, wrong=wrong)

    def commit(self, label: str, member: Member, generation: int | None = None) -> None:
        version = min(self.version, self.world.latest(8))
        request = commit_request(self.name, version)
        if version >= 1:
            request.generation_id_or_member_epoch = self.generation if generation is None else generation
            request.member_id = member.id  # type: ignore[assignment]
        if version >= 7:
            request.group_instance_id = member.instance
        self.ask(label, request, 8)

    def describe(self, label: str) -> None:
        request = DescribeGroupsRequest(groups=[self.name])
        self.world.pair.ask(f"{self.name}: {label}: describe", request, self.world.latest(15))

    # -- waiting

    def until_rebalancing(self, member: Member) -> None:
        self.until(
            f"{member.name} has to join", self.heartbeat(member), 12,
            lambda reply: bool(reply.error_code == REBALANCE_IN_PROGRESS),
        )  # fmt: skip

    def until_counted(self, member: Member) -> None:
        """A new member's join has come."""
        members = len([one for one in self._members if one.id or one.joining is not None])
        self.until_members(f"{member.name} has joined", members)

    def until_members(self, what: str, count: int) -> None:
        self.until(
            what, DescribeGroupsRequest(groups=[self.name]), 15,
            lambda reply: len(reply.groups[0].members) == count,
        )  # fmt: skip

    def until(self, what: str, request: Message, key: int, done: Callable[[Any], bool]) -> None:
        version = min(self.version, self.world.latest(key))
        wait_until(lambda: self.world.quietly(request, version, done), what, 20)

    def gone(self, *members: Member) -> None:
        """No longer counted."""
        self._members = [one for one in self._members if one not in members]

    def end(self) -> None:
        for name in {member.name for member in self._members}:
            self.world.pair.hang_up(name)
