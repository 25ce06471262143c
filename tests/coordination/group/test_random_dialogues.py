"""Members that join, leave, crash and come back as chance has it, in frozen broker time.

Each member behaves as a client does: it acts on the answers it gets, and joins again when it is told to.
After every step: generations only grow, and who waits is known to the group. At every stable point, once all
live members have settled, every partition is owned exactly once, and the log tells the same story as the
memory.
"""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.coordination.group.calls import JoinReply, SyncReply
from pybroker.coordination.group.shard import GroupShard
from pybroker.model.errors import ErrorCode
from tests.coordination.group.dialogue import GROUP, Dialogue

PARTITIONS = 7
SESSION_MS = 10_000
REBALANCE_MS = 30_000


class Client:
    """A member as clients behave, one request at a time."""

    def __init__(self, talk: Dialogue, name: str, *, is_static: bool, is_old: bool) -> None:
        self.talk = talk
        self.name = name
        self.instance_id = name if is_static else None
        self.is_old = is_old
        self.version = 0
        self.member_id = ""
        self.generation = -1
        self.owned: frozenset[int] | None = None
        self.waiting: int | None = None
        self.is_alive = True

    def join(self) -> None:
        self.owned = None
        self.waiting = self.talk.join(
            self.member_id,
            client_id=self.name,
            instance_id=self.instance_id,
            needs_member_id=not self.is_old,
            can_skip_assignment=not self.is_old,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            protocols=(("range", b"%d" % self.version),),
        )

    def act(self) -> bool:
        """Take the answer that is there, if any, and go on. False if nothing happened."""
        if not self.is_alive or self.waiting is None or self.waiting not in self.talk.answers:
            return False
        answer = self.talk.answers[self.waiting]
        self.waiting = None
        if isinstance(answer, JoinReply):
            self._joined(answer)
        else:
            assert isinstance(answer, SyncReply)
            self._synced(answer)
        return True

    def _joined(self, answer: JoinReply) -> None:
        if answer.error is ErrorCode.FENCED_INSTANCE_ID:
            self.is_alive = False
        elif answer.error is ErrorCode.NONE:
            assert answer.generation >= self.generation, "generations only grow"
            self.member_id, self.generation = answer.member_id, answer.generation
            given = {}
            if answer.leader == answer.member_id and not answer.skip_assignment:
                given = share([one.member_id for one in answer.members])
            self.waiting = self.talk.sync(
                self.member_id, self.generation, given, instance_id=self.instance_id
            )
        else:
            self._again(answer.error, answer.member_id)

    def _synced(self, answer: SyncReply) -> None:
        if answer.error is ErrorCode.NONE:
            self.owned = frozenset(answer.assignment)
        else:
            self._again(answer.error, "")

    def _again(self, error: ErrorCode, member_id: str) -> None:
        self.owned = None
        if error is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = member_id
        elif error is ErrorCode.FENCED_INSTANCE_ID:
            self.is_alive = False
            return
        elif error not in (ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.NOT_COORDINATOR):
            self.member_id, self.generation = "", -1
        self.join()

    def heartbeat(self) -> None:
        if not self.is_alive or self.waiting is not None or self.owned is None:
            return
        code = self.talk.heartbeat(self.member_id, self.generation, self.instance_id)
        if code is not ErrorCode.NONE:
            self._again(code, "")

    def leave(self) -> None:
        if self.member_id:
            self.talk.leave(self.member_id)
        self.is_alive = False


def share(members: Sequence[str]) -> dict[str, bytes]:
    """Every partition to one member."""
    given = {member: bytearray() for member in members}
    for partition in range(PARTITIONS):
        given[members[partition % len(members)]].append(partition)
    return {member: bytes(owned) for member, owned in given.items()}


class Story:
    def __init__(self) -> None:
        self.talk = Dialogue(initial_rebalance_delay_ms=500)
        self.clients: list[Client] = []
        self.generation = 0

    def live(self) -> list[Client]:
        return [client for client in self.clients if client.is_alive]

    def pick(self, number: int) -> Client | None:
        live = self.live()
        return live[number % len(live)] if live else None

    def step(self, action: str, number: int) -> None:
        client = self.pick(number)
        match action:
            case "new" | "new old" | "new static":
                name = f"{action[-1]}{len(self.clients)}"
                added = Client(self.talk, name, is_static=action == "new static", is_old=action == "new old")
                self.clients.append(added)
                added.join()
            case "wait":
                self.advance(number * 100)
            case "act" if client is not None:
                client.act()
            case "heartbeat" if client is not None:
                client.heartbeat()
            case "leave" if client is not None:
                client.leave()
            case "crash" if client is not None:
                client.is_alive = False
            case "restart" if client is not None:
                self.restart(client)
            case "change" if client is not None and client.waiting is None and client.owned is not None:
                client.version += 1
                client.join()
            case "log fails":
                self.talk.error = ErrorCode.NOT_ENOUGH_REPLICAS
            case "move":
                self.move()
            case "log works":
                self.talk.error = ErrorCode.NONE
        self.check()

    def move(self) -> None:
        """What was never stored is forgotten, so a generation may be counted a second time."""
        self.talk.move()
        group = self.talk.shard.groups.get(GROUP)
        self.generation = 0 if group is None else group.generation
        for client in self.clients:
            client.generation = min(client.generation, self.generation)

    def restart(self, client: Client) -> None:
        """A process ends without a word, and a new one takes its name."""
        client.is_alive = False
        after = Client(self.talk, client.name, is_static=client.instance_id is not None, is_old=client.is_old)
        self.clients.append(after)
        after.join()

    def advance(self, by_ms: int) -> None:
        """Live clients send heartbeats all the time."""
        for _ in range(0, by_ms, 1000):
            self.talk.advance(min(by_ms, 1000))
            for client in self.clients:
                client.heartbeat()

    def check(self) -> None:
        group = self.talk.shard.groups.get(GROUP)
        members = [] if group is None else list(group.members.values())
        held = {member.awaiting_join for member in members} | {member.awaiting_sync for member in members}
        for client in self.clients:
            if client.waiting is not None and client.waiting not in self.talk.answers:
                assert client.waiting in held, "nobody waits unseen"
        if group is None:
            return
        assert group.generation >= self.generation, "generations only grow"
        self.generation = group.generation
        assert group.awaiting_join_count == sum(member.awaiting_join is not None for member in members)
        assert group.leader_id in (group.members or [None])

    def settle(self) -> None:
        """Let everybody act until all live clients own their share."""
        self.talk.error = ErrorCode.NONE
        for _ in range(400):
            while any(client.act() for client in self.clients):
                self.check()
            if self.is_settled():
                return
            self.advance(1000)
            self.check()
        raise AssertionError(f"not settled: {self.talk.state} {[vars(c) for c in self.live()]}")

    def is_settled(self) -> bool:
        group = self.talk.shard.groups.get(GROUP)
        live = self.live()
        if not live:
            return group is None or not (group.members or group.pending_members)
        return (
            group is not None
            and group.state.value == "Stable"
            and all(client.owned is not None and client.waiting is None for client in live)
            and set(group.members) == {client.member_id for client in live}
        )


ACTIONS = [
    *["new", "new", "new old", "new static"],
    *["act"] * 8,
    *["wait", "wait", "heartbeat"],
    *["leave", "crash", "restart", "change", "log fails", "log works", "move"],
]


def state(shard: GroupShard) -> dict[str, Any]:
    """What must survive a restart. When the state began is stored a little earlier than it does."""
    return {
        group_id: (
            group.state,
            group.generation,
            group.protocol_type,
            group.protocol_name,
            group.leader_id,
            group.static_members,
            {
                member.member_id: (member.instance_id, member.assignment, member.metadata("range"))
                for member in group.members.values()
            },
        )
        for group_id, group in shard.groups.items()
        if group.generation
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 120)), max_size=60), st.booleans())
def test_random_dialogues(steps: list[tuple[str, int]], twice: bool) -> None:
    story = Story()
    for part in (steps[: len(steps) // 2], steps[len(steps) // 2 :]) if twice else (steps,):
        for action, number in part:
            story.step(action, number)
        story.settle()
        owned = [partition for client in story.live() for partition in client.owned or ()]
        assert sorted(owned) == (list(range(PARTITIONS)) if story.live() else [])
        if story.live():
            assert state(story.talk.replayed()) == state(story.talk.shard)
