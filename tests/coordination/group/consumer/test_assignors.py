"""Everybody gets a fair share, nothing twice, and keeps what it can."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.coordination.group.consumer.assignors import ASSIGNORS, GroupSpec, MemberSpec
from pybroker.coordination.group.consumer.assignors.range import assign_ranges
from pybroker.coordination.group.consumer.assignors.uniform import assign_uniformly
from pybroker.coordination.group.consumer.state import Assignment, TopicIdPartition
from tests.coordination.group.consumer.scene import parts, topic_id

TOPICS = ("a", "b", "c", "d")


@st.composite
def specs(draw: st.DrawFn) -> GroupSpec:
    counts = {topic_id(name): draw(st.integers(0, 12)) for name in TOPICS}
    members: dict[str, MemberSpec] = {}
    free = [TopicIdPartition(topic, at) for topic, count in counts.items() for at in range(count + 2)]
    same = draw(st.booleans())
    for number in range(draw(st.integers(1, 12))):
        names = TOPICS if same else draw(st.lists(st.sampled_from(TOPICS), unique=True))
        had = set()
        for _ in range(draw(st.integers(0, 6))):
            if free:
                had.add(free.pop(draw(st.integers(0, len(free) - 1))))
        instance = f"i{number}" if draw(st.booleans()) else None
        members[f"m{number}"] = MemberSpec(frozenset(map(topic_id, names)), frozenset(had), instance)
    wanted = frozenset().union(*(member.subscribed for member in members.values()))
    return GroupSpec(members, {topic: counts[topic] for topic in wanted})


@settings(max_examples=300, deadline=None)
@given(specs(), st.sampled_from(sorted(ASSIGNORS)))
def test_each_partition_that_is_wanted_has_one_owner_who_wants_it(spec: GroupSpec, name: str) -> None:
    targets = ASSIGNORS[name](spec)
    assert targets.keys() == spec.members.keys()
    owned = [tp for assignment in targets.values() for tp in assignment]
    expected = {TopicIdPartition(t, at) for t, count in spec.partition_counts.items() for at in range(count)}
    assert len(owned) == len(set(owned))
    assert set(owned) == expected
    for member_id, assignment in targets.items():
        assert {tp.topic_id for tp in assignment} <= spec.members[member_id].subscribed


@settings(max_examples=300, deadline=None)
@given(specs())
def test_a_uniform_assignment_cannot_be_made_fairer(spec: GroupSpec) -> None:
    """No partition could go from one member to another that has two fewer and wants it."""
    targets = assign_uniformly(spec)
    for giver in targets.values():
        for taker_id, taker in targets.items():
            if len(giver) - len(taker) >= 2:
                wanted = spec.members[taker_id].subscribed
                assert not any(tp.topic_id in wanted for tp in giver)


@settings(max_examples=300, deadline=None)
@given(specs())
def test_a_uniform_assignment_that_is_fair_stays(spec: GroupSpec) -> None:
    targets = assign_uniformly(spec)
    again = GroupSpec(
        {
            member_id: MemberSpec(member.subscribed, targets[member_id], member.instance_id)
            for member_id, member in spec.members.items()
        },
        spec.partition_counts,
    )
    assert assign_uniformly(again) == targets


def test_a_new_member_takes_no_more_than_its_share() -> None:
    had = parts("a", 0, 1, 2, 3, 4, 5)
    spec = GroupSpec({"m1": member(had), "m2": member(), "m3": member()}, {topic_id("a"): 6})
    targets = assign_uniformly(spec)
    assert {len(one) for one in targets.values()} == {2}
    assert targets["m1"] < had


def test_ranges_are_neighbours_and_the_same_in_each_topic() -> None:
    both = frozenset({topic_id("a"), topic_id("b")})
    members = {
        name: MemberSpec(both, instance_id=instance) for name, instance in [("m2", None), ("m1", None)]
    }
    members["m9"] = MemberSpec(both, instance_id="x")
    targets = assign_ranges(GroupSpec(members, {topic_id("a"): 7, topic_id("b"): 7}))
    assert targets == {
        "m9": parts("a", 0, 1, 2) | parts("b", 0, 1, 2),
        "m1": parts("a", 3, 4) | parts("b", 3, 4),
        "m2": parts("a", 5, 6) | parts("b", 5, 6),
    }


def member(had: Assignment = frozenset()) -> MemberSpec:
    return MemberSpec(frozenset({topic_id("a")}), had)
