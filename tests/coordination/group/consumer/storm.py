"""Members of both protocols that behave as clients do, around one shard in frozen broker time.

Whatever happens, no partition is ever used by two live members, epochs only grow and nobody waits unseen.
When everybody has settled, each partition has exactly one owner, and the log tells the same story as memory.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from pybroker.coordination.group.calls import JoinReply, LeavingMember, SyncReply
from pybroker.coordination.group.consumer.calls import ConsumerHeartbeatReply
from pybroker.coordination.group.consumer.group import ConsumerGroup
from pybroker.coordination.group.consumer.state import TopicIdPartition
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.shard import GroupShard
from pybroker.coordination.group.subscriptions import read_assignment, write_assignment
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from tests.coordination.group.consumer.scene import Scene, topic_id
from tests.coordination.group.dialogue import GROUP, subscription

REBALANCE_MS = 30_000
CLASSIC_SESSION_MS = 10_000
TOPIC = "orders"
GONE = (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.GROUP_ID_NOT_FOUND)


class NewMember:
    """A member of the consumer protocol: one heartbeat at a time, each with what has changed."""

    def __init__(self, storm: "Storm", name: str, *, is_static: bool, regex: str | None) -> None:
        self.storm = storm
        self.name = name
        self.member_id = f"{name}-{next(storm.scene.ids)}"
        self.instance_id = name if is_static else None
        self.regex = regex
        self.epoch = 0
        self.owned: frozenset[int] = frozenset()
        self.has_news = True
        self.is_alive = True

    @property
    def is_settled(self) -> bool:
        return self.epoch > 0 and not self.has_news

    def act(self) -> bool:
        return False

    def heartbeat(self) -> None:
        if not self.is_alive:
            return
        fields: dict[str, Any] = {"instance_id": self.instance_id}
        if self.epoch == 0:
            names = None if self.regex is not None else frozenset({TOPIC})
            fields |= {"topic_names": names, "topic_regex": self.regex, "rebalance_timeout_ms": REBALANCE_MS}
        if self.epoch == 0 or self.has_news:
            fields["owned"] = frozenset(TopicIdPartition(topic_id(TOPIC), one) for one in self.owned)
        self.has_news = False
        self._told(self.storm.scene.beat(self.member_id, self.epoch, **fields))

    def _told(self, reply: ConsumerHeartbeatReply) -> None:
        if reply.error is ErrorCode.NONE:
            assert self.epoch == 0 or reply.member_epoch >= self.epoch, "epochs only grow"
            self.epoch = reply.member_epoch
            if reply.assignment is not None:
                owned = frozenset(tp.partition for tp in reply.assignment)
                self.has_news = owned != self.owned
                self.owned = owned
        elif reply.error is ErrorCode.FENCED_INSTANCE_ID:
            self.die()
        elif reply.error in GONE:
            self.owned, self.epoch, self.has_news = frozenset(), 0, True
        else:
            # Nothing was stored, or the place of the static member is not free yet: try again.
            assert reply.error in (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.UNRELEASED_INSTANCE_ID)
            self.has_news = True

    def leave(self) -> None:
        if self.epoch > 0:
            self.storm.scene.beat(self.member_id, -1, instance_id=self.instance_id)
        self.die()

    def pause(self) -> None:
        """A static member goes for a moment."""
        if self.epoch > 0 and self.instance_id is not None:
            self.storm.scene.beat(self.member_id, -2, instance_id=self.instance_id)
        self.die()

    def die(self) -> None:
        self.is_alive, self.owned = False, frozenset()


class OldMember:
    """A member of the classic protocol that gives up everything before it joins again (eager)."""

    def __init__(self, storm: "Storm", name: str, *, is_static: bool) -> None:
        self.storm = storm
        self.name = name
        self.instance_id = name if is_static else None
        self.member_id = ""
        self.generation = -1
        self.owned: frozenset[int] = frozenset()
        self.has_assignment = False
        self.shared: int | None = None
        """As the leader: how many partitions it shared out; it watches whether there are more."""
        self.waiting: int | None = None
        self.is_alive = True
        self.join()

    @property
    def is_settled(self) -> bool:
        return self.waiting is None and self.has_assignment

    def join(self) -> None:
        self.owned, self.has_assignment = frozenset(), False
        self.waiting = self.storm.scene.join(
            self.member_id,
            client_id=self.name,
            instance_id=self.instance_id,
            needs_member_id=self.instance_id is None,
            can_skip_assignment=True,
            session_timeout_ms=CLASSIC_SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            protocols=(("range", subscription(TOPIC)),),
        )

    def act(self) -> bool:
        """Take the answer that is there, if any. False if nothing happened."""
        answers = self.storm.scene.answers
        if not self.is_alive or self.waiting is None or self.waiting not in answers:
            return False
        answer, self.waiting = answers[self.waiting], None
        if isinstance(answer, JoinReply):
            self._joined(answer)
        else:
            assert isinstance(answer, SyncReply)
            self._synced(answer)
        return True

    def _joined(self, answer: JoinReply) -> None:
        if answer.error is not ErrorCode.NONE:
            self._again(answer.error, answer.member_id)
            return
        self.member_id, self.generation = answer.member_id, answer.generation
        given = {}
        leads = answer.leader == answer.member_id
        self.shared = self.storm.partitions if leads and not answer.skip_assignment else None
        if self.shared is not None:
            given = self.storm.share([one.member_id for one in answer.members])
        elif leads:
            # It may not know what its predecessor shared out.
            self.shared = 0
        self.waiting = self.storm.scene.sync(
            self.member_id, self.generation, given, instance_id=self.instance_id
        )

    def _synced(self, answer: SyncReply) -> None:
        if answer.error is not ErrorCode.NONE:
            self._again(answer.error, "")
            return
        self.owned = frozenset(tp.partition for tp in read_assignment(answer.assignment).partitions)
        self.has_assignment = True

    def heartbeat(self) -> None:
        if not self.is_alive or self.waiting is not None or not self.has_assignment:
            return
        code = self.storm.scene.heartbeat(self.member_id, self.generation, self.instance_id)
        if code is not ErrorCode.NONE:
            self._again(code, "")
        elif self.shared not in (None, self.storm.partitions):
            self.join()

    def _again(self, error: ErrorCode, member_id: str) -> None:
        if error is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = member_id
        elif error is ErrorCode.FENCED_INSTANCE_ID:
            self.die()
            return
        elif error not in (ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.NOT_COORDINATOR):
            self.member_id, self.generation = "", -1
        self.join()

    def leave(self) -> None:
        if self.member_id:
            self.storm.scene.leave(LeavingMember(self.member_id, self.instance_id))
        self.die()

    def pause(self) -> None:
        self.die()

    def die(self) -> None:
        self.is_alive, self.owned = False, frozenset()


ClientMember = NewMember | OldMember


class Storm:
    """A group, its members, and what happens to them."""

    def __init__(self, partitions: int) -> None:
        self.scene = Scene(**{TOPIC: partitions})
        self.partitions = partitions
        self.members: list[ClientMember] = []
        self.names = 0

    # -- what happens

    def live(self) -> list[ClientMember]:
        return [member for member in self.members if member.is_alive]

    def step(self, action: str, number: int) -> None:
        live = self.live()
        member = live[number % len(live)] if live else None
        match action:
            case "new" | "new static" | "new regex" | "old" | "old static":
                self.names += 1
                self.add(action, f"m{self.names}")
            case "beat" if member is not None:
                member.act()
                member.heartbeat()
            case "wait":
                self.advance(number % 20 * 500)
            case "leave" if member is not None:
                member.leave()
            case "crash" if member is not None:
                member.die()
            case "restart" if member is not None:
                self.restart(member, is_new=isinstance(member, NewMember))
            case "change protocol" if member is not None:
                self.restart(member, is_new=not isinstance(member, NewMember))
            case "grow" if self.partitions < 200:
                self.partitions += number % 5
                self.scene.change_cluster(**{TOPIC: self.partitions})
            case "move":
                self.move()
            case "log fails":
                self.scene.error = ErrorCode.NOT_ENOUGH_REPLICAS
            case "log works":
                self.scene.error = ErrorCode.NONE
        self.check()

    def add(self, kind: str, name: str) -> None:
        is_static = kind.endswith("static")
        if kind.startswith("new"):
            regex = "o.*s" if kind == "new regex" else None
            added: ClientMember = NewMember(self, name, is_static=is_static, regex=regex)
            self.members.append(added)
            added.heartbeat()
        else:
            self.members.append(OldMember(self, name, is_static=is_static))

    def restart(self, member: ClientMember, *, is_new: bool) -> None:
        """A process ends, and one of the same name begins, maybe in the other protocol: so applications are
        rolled. A static member leaves for a moment, the others for good."""
        if member.instance_id is None:
            member.leave()
        else:
            member.pause()
        kind = "new" if is_new else "old"
        self.add(kind if member.instance_id is None else f"{kind} static", member.name)

    def advance(self, by_ms: int) -> None:
        """Live members act and send heartbeats all the time."""
        for _ in range(0, by_ms, 1000):
            self.scene.advance(1000)
            for member in self.live():
                # An answer may lead to a request that is answered at once: a client takes its time, too.
                for _ in range(4):
                    if member.act():
                        self.check_owners()
                member.heartbeat()
                self.check_owners()

    def move(self) -> None:
        """Another broker coordinates; classic groups may forget a generation that was never stored."""
        self.check_log()
        self.scene.move()
        for member in self.members:
            if isinstance(member, OldMember):
                member.generation = min(member.generation, self.epoch())

    # -- what holds

    def epoch(self) -> int:
        group = self.scene.shard.groups.get(GROUP)
        if group is None:
            return 0
        return group.epoch if isinstance(group, ConsumerGroup) else group.generation

    def check_owners(self) -> None:
        used: dict[int, str] = {}
        for member in self.members:
            for partition in member.owned:
                assert partition not in used, f"{partition}: {used.get(partition)} and {member.name}"
                used[partition] = member.name

    def check(self) -> None:
        self.check_owners()
        group = self.scene.shard.groups.get(GROUP)
        held: set[Any] = set()
        if isinstance(group, ClassicGroup):
            for one in group.members.values():
                held |= {one.awaiting_join, one.awaiting_sync}
        for member in self.members:
            if isinstance(member, OldMember) and member.waiting is not None:
                assert member.waiting in held or member.waiting in self.scene.answers, "nobody waits unseen"

    def check_log(self) -> None:
        if isinstance(self.scene.shard.groups.get(GROUP), ConsumerGroup):
            assert story(self.scene.replayed()) == story(self.scene.shard)

    def settle(self) -> None:
        """Let everybody act until each live member has what it should."""
        self.scene.error = ErrorCode.NONE
        self.advance(1000)
        for _ in range(300):
            if self.is_settled() and not self.joins_anew():
                owned = sorted(one for member in self.live() for one in member.owned)
                assert owned == (list(range(self.partitions)) if self.live() else [])
                self.check_log()
                return
            self.advance(1000)
            self.check()
        raise AssertionError(f"not settled: {[vars(member) for member in self.live()]}")

    def joins_anew(self) -> bool:
        """A static member whose successor makes the group a classic one is told of no leader, as in Kafka:
        nobody watches the topics then, before the one that leads in the coordinator's view joins again."""
        group = self.scene.shard.groups.get(GROUP)
        old = [member for member in self.live() if isinstance(member, OldMember)]
        if not isinstance(group, ClassicGroup) or any(member.shared is not None for member in old):
            return False
        leader = next((member for member in old if member.member_id == group.leader_id), None)
        if leader is not None:
            leader.join()
        return leader is not None

    def is_settled(self) -> bool:
        group, live = self.scene.shard.groups.get(GROUP), self.live()
        if group is None or not live:
            return not live and (group is None or not group.members)
        members = {member.member_id for member in live}
        return (
            group.state.value == "Stable"
            and set(group.members) == members
            and all(member.is_settled for member in live)
        )

    def share(self, members: Sequence[str]) -> dict[str, bytes]:
        """What a classic leader assigns."""
        given: dict[str, list[TopicPartition]] = {member: [] for member in members}
        for partition in range(self.partitions):
            given[members[partition % len(members)]].append(TopicPartition(TOPIC, partition))
        return {member: write_assignment(owned, 0) for member, owned in given.items()}


def story(shard: GroupShard) -> Any:
    """What a log must tell of the group: all of a consumer group, and that a classic one is none."""
    group = shard.groups.get(GROUP)
    if not isinstance(group, ConsumerGroup):
        return None
    state = {name: value for name, value in vars(group).items() if name not in ("offsets", "seen_version")}
    return {**state, "members": dict(sorted(group.members.items()))}


ACTIONS = (
    *("new", "new", "new static", "new regex", "old", "old static"),
    *("beat",) * 6,
    *("wait", "wait"),
    *("leave", "crash", "restart", "change protocol", "change protocol"),
    *("grow", "move", "log fails", "log works"),
)


def blow(seed: int, members: int, steps: int, partitions: int) -> Storm:
    """One storm from a seed: so many members at first, then so many steps, and stable points in between."""
    random = Random(seed)
    storm = Storm(partitions)
    kinds = ("new", "new static", "new regex", "old", "old static")
    for _ in range(members):
        storm.step(random.choice(kinds), 0)
    storm.settle()
    for at in range(steps):
        storm.step(random.choice(ACTIONS), random.randrange(1000))
        if at % 50 == 49:
            storm.settle()
    storm.settle()
    return storm
