"""Classic groups of several members, by versions of JoinGroup: who waits, who leads, who is put out.

Where Kafka would choose by the hash of a random id (a new leader out of several, one of two protocols with as
many votes) the scenarios leave no choice.
"""

from collections.abc import Mapping, Sequence

from interop.differential.refs import Ref
from interop.differential.scenarios.groups import (
    MEMBER_ID_REQUIRED_FROM,
    STATIC_MEMBERS_FROM,
    TOPIC,
    UNKNOWN,
)
from interop.differential.scenarios.members import PROTOCOLS, Group, Member
from interop.differential.scenarios.world import World
from pybroker.protocol.messages import DescribeGroupsRequest

SHORT_MS = 1200
"""Sessions and rebalances that end during the run."""


def stable(
    group: Group,
    *names: str,
    instances: Mapping[str, str] | None = None,
    protocols: Sequence[str] = PROTOCOLS,
) -> list[Member]:
    """These members, the first of whom leads, with an assignment each."""
    members = [group.member(name, (instances or {}).get(name), protocols) for name in names]
    group.join("first joins", members[0])
    group.generation = 1
    if len(members) > 1:
        group.rebalance("all join", *members)
    settle(group, *members)
    return members


def settle(group: Group, *members: Member) -> None:
    """The first leads."""
    leader, *others = members
    for other in others:
        group.send_sync(other)
    group.sync("leader syncs", leader, *members)
    for other in others:
        group.receive_sync(f"{other.short_name} syncs", other)
    group.beat("settled", *members)
    group.describe("settled")


def several_members(world: World) -> None:
    for version in world.versions(11):
        for scenario in (_meeting, _again, _changes, _protocols, _departures, _half_way, _full):
            scenario(world, version)
        if version >= STATIC_MEMBERS_FROM:
            for scenario in (_replaced, _replaced_amid):
                scenario(world, version)
    for version in sorted({world.versions(11)[0], MEMBER_ID_REQUIRED_FROM, world.latest(11)}):
        for scenario in (_sessions, _late_joins, _late_syncs):
            scenario(world, version)


def _meeting(world: World, version: int) -> None:
    """Three meet, one after the other syncs, one of them is given nothing."""
    group = Group(world, "meeting", version)
    a, b, c = (group.member(name) for name in "abc")
    group.join("a joins", a)
    group.generation = 1
    group.sync("a syncs", a, a)
    group.send_join(b)
    group.until_counted(b)
    group.describe("b waits")
    group.beat("b waits", a)
    group.commit("a commits while b waits", a)
    group.sync("a syncs while b waits", a, a, wrong=True)
    group.send_join(c)
    group.until_counted(c)
    group.send_join(a)
    group.receive_joins("all join", a, b, c)
    group.describe("nobody has synced")
    group.beat("nobody has synced", a, b, c)
    group.beat("old generation", a, generation=1, wrong=True)
    group.commit("b commits before the sync", b)
    group.sync("b syncs in the old generation", b, generation=1, wrong=True)
    group.send_sync(b)
    group.sync("a syncs", a, a, b)
    group.receive_sync("b syncs", b)
    group.sync("c, who was given nothing, syncs", c)
    group.sync("b syncs again", b)
    group.sync("c syncs with an assignment", c, c)
    group.describe("stable")
    for member in (a, b, c):
        group.commit(f"{member.short_name} commits", member)
    group.commit("c commits in the old generation", c, generation=1)
    group.end()


def _again(world: World, version: int) -> None:
    """Rejoins: of followers and the leader, with and without news."""
    group = Group(world, "again", version)
    a, b, c = stable(group, "a", "b", "c")
    group.join("follower without news", b)
    group.beat("follower without news", a, b, c)
    b.topics = (TOPIC, "another")
    group.send_join(b)
    group.until_rebalancing(a)
    group.describe("follower with news")
    group.beat("follower with news", a, b, c)
    group.sync("c syncs amid", c, wrong=True)
    group.send_join(a)
    group.send_join(c)
    group.receive_joins("follower with news", a, b, c)
    group.join("b joins again before the sync", b)
    group.join("a joins again before the sync", a)
    settle(group, a, b, c)
    group.rebalance("leader", a, b, c)
    settle(group, a, b, c)
    group.end()


def _changes(world: World, version: int) -> None:
    """News before the sync: those who wait for their assignment have to join again."""
    group = Group(world, "changes", version)
    a, b = stable(group, "a", "b")
    group.rebalance("leader", a, b)
    group.send_sync(b)
    group.until(
        "b's sync waits", DescribeGroupsRequest(groups=[group.name]), 15,
        lambda reply: bool(reply.groups[0].group_state == "CompletingRebalance"),
    )  # fmt: skip
    group.beat("b's sync waits", a)
    a.topics = (TOPIC, "another")
    group.send_join(a)
    group.receive_sync("b is sent away", b, wrong=True)
    group.send_join(b)
    group.receive_joins("after the news", a, b)
    settle(group, a, b)
    group.end()


def _protocols(world: World, version: int) -> None:
    """Only what all support is chosen, by the votes of most; who brings nothing of it stays out."""
    group = Group(world, "protocols", version)
    a = group.member("a", protocols=("sticky", "range", "roundrobin"))
    b = group.member("b", protocols=("range", "sticky"))
    c = group.member("c", protocols=("range", "unheard-of", "sticky"))
    group.join("a joins", a)
    group.generation = 1
    group.rebalance("all join", a, b, c)
    group.describe("range is chosen")
    settle(group, a, b, c)
    stranger = Member(group, "stranger", None, ("roundrobin",))
    for label, protocols in (
        ("one protocol of one", ("roundrobin",)),
        ("unknown", ("no-such",)),
        ("none", ()),
    ):
        stranger.protocols = protocols
        request = group.join_request(stranger)
        group.ask(f"stranger: {label}", request, 11, wrong=True)
    stranger.protocols = PROTOCOLS
    request = group.join_request(stranger)
    request.protocol_type = "connect"
    group.ask("stranger: other type", request, 11, wrong=True)
    request = group.join_request(a)
    request.protocol_type = "connect"
    group.ask("leader: other type", request, 11, wrong=True)
    b.protocols = ("no-such",)
    group.ask("follower: unknown protocol", group.join_request(b), 11, wrong=True)
    request = group.join_request(stranger)
    request.member_id = UNKNOWN
    group.ask("stranger: an id that nobody gave", request, 11, wrong=True)
    group.beat("nothing has changed", a, c)
    group.end()


def _departures(world: World, version: int) -> None:
    """Leaving: followers, several at once, the leader; a pending member; and the last one."""
    group = Group(world, "departures", version)
    a, b, c = stable(group, "a", "b", "c")
    pending = group.member("pending")
    if version >= MEMBER_ID_REQUIRED_FROM:
        keep = {pending.name: lambda reply: reply.member_id}
        group.ask("pending asks for an id", group.join_request(pending), 11, capture=keep)
        pending.id = Ref(pending.name)
        group.beat("of a pending one", pending, wrong=True)
        group.sync("of a pending one", pending, wrong=True)
        group.describe("one is pending")
        group.leave("a pending one leaves", pending)
        group.leave("a pending one leaves twice", pending, wrong=True)
    group.gone(pending)
    group.leave("c leaves", c)
    group.gone(c)
    group.beat("c has left", a, b)
    group.beat("c has left", c, wrong=True)
    group.rebalance("c has left", a, b)
    settle(group, a, b)
    group.leave("the leader leaves", a)
    group.gone(a)
    group.beat("the leader has left", b)
    group.join("b joins alone", b)
    group.generation += 1
    group.describe("b leads")
    group.sync("b syncs", b, b)
    d = group.member("d")
    group.rebalance("d joins", b, d)
    settle(group, b, d)
    nobody = Member(group, "nobody", None, PROTOCOLS)
    nobody.id = UNKNOWN
    group.leave("both and nobody leave", b, nobody, d)
    group.describe("empty")
    group.beat("all have left", b, d, wrong=True)
    group.sync("all have left", b, wrong=True)
    group.send_join(b)
    group.receive_join("b is not known any more", b, wrong=True)
    group.end()


def _half_way(world: World, version: int) -> None:
    """The leader or a follower leaves while the others wait for it."""
    group = Group(world, "half-way", version)
    a, b, c = stable(group, "a", "b", "c")
    group.send_join(a)
    group.until_rebalancing(b)
    group.send_join(b)
    group.leave("c leaves while a and b wait", c)
    group.gone(c)
    group.receive_joins("without c", a, b)
    group.send_sync(b)
    group.leave("the leader leaves, b waits for its assignment", a)
    group.gone(a)
    group.receive_sync("b is sent away", b, wrong=True)
    group.describe("b is to join")
    group.join("b joins alone", b)
    group.generation += 1
    group.sync("b syncs", b, b)
    group.describe("b is alone")
    group.end()


def _full(world: World, version: int) -> None:
    """One more than ``group.max.size``: at rest, while the group joins, and before it has its assignment."""
    group = Group(world, "full", version)
    members = stable(group, "a", "b", "c", "d")
    leader, *others = members
    late = group.member("e")
    group.ask("one too many", group.join_request(late), 11, wrong=True)
    group.beat("one was too many", *members)
    group.send_join(leader)
    group.until_rebalancing(others[0])
    group.leave("d leaves amid", others[-1])
    group.gone(others[-1], late)
    for other in others[:-1]:
        group.send_join(other)
    group.receive_joins("without d", *members[:-1])
    settle(group, *members[:-1])
    newer, newest = group.member("newer"), group.member("newest")
    group.rebalance("newer takes d's place", *members[:-1], newer)
    group.ask("one too many before the sync", group.join_request(newest), 11, wrong=True)
    group.describe("full again")
    group.end()


def _replaced(world: World, version: int) -> None:
    """Static members come back: as they were, with news; who was replaced is fenced."""
    group = Group(world, "replaced", version)
    instances, both = {"a": "one", "b": "two", "c": "three"}, ("range", "sticky")
    a, b, c = stable(group, "a", "b", "c", instances=instances, protocols=both)
    newer_b = group.member("newer b", "two", both)
    group.join("a follower comes back", newer_b)
    group.describe("a follower came back")
    group.beat("a follower came back", a, newer_b, c)
    group.beat("the old one", b, wrong=True)
    group.sync("the old one syncs", b, wrong=True)
    group.join("the old one joins", b, wrong=True)
    group.commit("the old one commits", b)
    group.leave("the old one leaves", b, wrong=True)
    group.gone(b)
    group.sync("it syncs", newer_b)
    newer_a = group.member("newer a", "one", both)
    group.join("the leader comes back", newer_a)
    group.gone(a)
    group.describe("the leader came back")
    group.beat("the leader came back", newer_a, newer_b, c)
    group.beat("the old leader", a, wrong=True)
    group.sync("the leader syncs", newer_a, newer_a, newer_b, c)
    other_b = group.member("other b", "two", both)
    other_b.topics = (TOPIC, "another")
    group.gone(newer_b)
    group.join("a follower comes back with other topics", other_b)
    group.describe("a follower came back with other topics")
    group.beat("a follower came back with other topics", newer_a, other_b, c)
    newest_b = group.member("newest b", "two", ("sticky",))
    group.gone(other_b)
    group.send_join(newest_b)
    group.until_rebalancing(c)
    group.beat("a follower came back with another protocol", other_b, wrong=True)
    group.send_join(newer_a)
    group.send_join(c)
    group.receive_joins("after the news", newer_a, newest_b, c)
    group.describe("after the news")
    group.end()


def _replaced_amid(world: World, version: int) -> None:
    """Static members come back while the group joins, and while it waits for assignments."""
    group = Group(world, "replaced-amid", version)
    a, b = stable(group, "a", "b", instances={"a": "one", "b": "two"})
    a.topics = (TOPIC, "another")
    group.send_join(a)
    group.until_rebalancing(b)
    newer_a = group.member("newer a", "one")
    newer_a.topics = a.topics
    group.send_join(newer_a)
    group.receive_join("who was replaced while it waited", a, wrong=True)
    group.gone(a)
    group.send_join(b)
    group.receive_joins("all join", newer_a, b)
    group.send_sync(b)
    newer_b = group.member("newer b", "two")
    group.send_join(newer_b)
    group.receive_sync("who was replaced while it waited for its assignment", b, wrong=True)
    group.gone(b)
    group.until_rebalancing(newer_a)
    group.send_join(newer_a)
    group.receive_joins("again", newer_a, newer_b)
    settle(group, newer_a, newer_b)
    stranger = Member(group, "stranger", "three", PROTOCOLS)
    stranger.id = newer_a.id
    group.beat("another's id", stranger, wrong=True)
    group.leave("another's id", stranger, wrong=True)
    request = group.join_request(stranger)
    group.ask("another's id joins", request, 11, wrong=True)
    by_name = [Member(group, name, name, PROTOCOLS) for name in ("three", "two", "one")]
    group.leave("all leave by their names", *by_name)
    group.describe("all have left")
    group.end()


def _sessions(world: World, version: int) -> None:
    """A session ends: first a follower's, then, in another group, the leader's."""
    for silent, speaking in (("b", "a"), ("a", "b")):
        group = Group(world, f"session-of-{silent}", version)
        members = {name: group.member(name) for name in ("a", "b")}
        members[silent].session_ms = SHORT_MS
        if version == 0:
            # Its rebalance may take as long as its session.
            members[speaking].session_ms = SHORT_MS * 5
        group.join("a joins", members["a"])
        group.generation = 1
        group.rebalance("both join", members["a"], members["b"])
        group.send_sync(members["b"])
        group.sync("a syncs", members["a"], members["a"], members["b"])
        group.receive_sync("b syncs", members["b"])
        other = members[speaking]
        group.until_rebalancing(other)
        group.gone(members[silent])
        group.beat("its session is over", members[silent], wrong=True)
        group.join(f"{speaking} joins alone", other)
        group.generation += 1
        group.describe(f"{speaking} is alone")
        group.leave(f"{speaking} leaves", other)
        group.end()


def _late_joins(world: World, version: int) -> None:
    """Who does not join again in time is put out."""
    group = Group(world, "late-join", version)
    a, b = (group.member(name) for name in "ab")
    for member in (a, b):
        member.rebalance_ms = SHORT_MS
        if version == 0:
            member.session_ms = SHORT_MS * 2
    group.join("a joins", a)
    group.generation = 1
    group.rebalance("both join", a, b)
    settle(group, a, b)
    group.send_join(a)
    group.receive_join("a has waited for b in vain", a)
    group.generation += 1
    group.gone(b)
    group.beat("b was late", b, wrong=True)
    group.send_join(b)
    group.receive_join("b joins too late", b, wrong=True)
    group.describe("a is alone")
    group.leave("a leaves", a)
    group.end()


def _late_syncs(world: World, version: int) -> None:
    """Who does not ask for its assignment in time is put out too."""
    if version == 0:
        return  # one time-out for both: the session would end first
    group = Group(world, "late-sync", version)
    a, b = (group.member(name) for name in "ab")
    for member in (a, b):
        member.rebalance_ms = SHORT_MS
    group.join("a joins", a)
    group.generation = 1
    group.rebalance("both join", a, b)
    group.sync("a syncs, b does not", a, a, b)
    group.until_rebalancing(a)
    group.gone(b)
    group.beat("b was late", b, wrong=True)
    group.join("a joins alone", a)
    group.generation += 1
    group.describe("a is alone")
    group.leave("a leaves", a)
    group.end()
