"""What a coordinator of the consumer protocol (KIP-848) bears, beside Apache Kafka 4.

Run ``python -m interop.benchmarks.consumer_groups [--quick] [--rounds N] [--json FILE]``.

100 members join one group of 200 partitions at once, then one leaves; until every partition has one owner and
all members are in one epoch. Each member sends heartbeats every 100 ms and gives up partitions as soon as it
is told to. Apache Kafka reckons assignments at once here: by default it waits for a second.
"""

import sys
import time
import uuid
from contextlib import ExitStack

import trio

from interop.benchmarks.client import parse_options, rotated
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.groups import await_coordinator
from interop.benchmarks.systems import Kafka4System, PybrokerSystem, System, await_answer
from interop.benchmarks.wire import Connection, connect
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse

ROUNDS = 5
MEMBERS, PARTITIONS = 100, 200
TOPIC = "bench-consumer-groups"
HEARTBEAT, HEARTBEAT_S = (68, 1), 0.1
LEAVES = -1
PAIRS = (("pybroker", "kafka4"),)
JOIN, LEAVE = "100 members join, s to stable", "one of 100 leaves, s to stable"
TARGETS = [
    Target(JOIN, "pybroker", 1.1, "kafka4", at_least=False),
    Target(LEAVE, "pybroker", 1.1, "kafka4", at_least=False),
]

Owned = ConsumerGroupHeartbeatRequest.TopicPartitions


class Round:
    """The members of a group, and whether they have settled."""

    def __init__(self, port: int, group_id: str) -> None:
        self.port = port
        self.group_id = group_id
        self.expected = 0
        self._members: dict[int, tuple[int, int]] = {}
        self._stable = trio.Event()

    def told(self, number: int, epoch: int, owned: int) -> None:
        """A member is in an epoch with so many partitions."""
        self._members[number] = (epoch, owned)
        epochs = {epoch for epoch, _ in self._members.values()}
        is_whole = sum(owned for _, owned in self._members.values()) == PARTITIONS
        if len(self._members) == self.expected and len(epochs) == 1 and is_whole:
            self._stable.set()

    def gone(self, number: int) -> None:
        self._members.pop(number, None)

    async def stable(self, expected: int) -> None:
        """Wait until so many members have settled, from now on."""
        self.expected = expected
        self._stable = trio.Event()
        await self._stable.wait()


class Member:
    """One consumer with a connection of its own."""

    def __init__(self, group: Round, number: int) -> None:
        self._group = group
        self._number = number
        self._id = str(uuid.uuid4())
        self._epoch = 0
        self._owned: list[Owned] = []
        self._leaving = trio.Event()

    def leave(self) -> None:
        """Soon, instead of the next heartbeat."""
        self._leaving.set()

    async def run(self) -> None:
        """A member until it leaves, or is cancelled."""
        connection = await connect(self._group.port)
        try:
            has_news = await self._ask(
                connection,
                ConsumerGroupHeartbeatRequest(
                    rebalance_timeout_ms=60_000, subscribed_topic_names=[TOPIC], topic_partitions=[]
                ),
            )
            while not self._leaving.is_set():
                if not has_news:
                    with trio.move_on_after(HEARTBEAT_S):
                        await self._leaving.wait()
                        break
                request = ConsumerGroupHeartbeatRequest()
                if has_news:
                    request.topic_partitions = self._owned
                has_news = await self._ask(connection, request)
            self._group.gone(self._number)
            self._epoch = LEAVES
            await self._ask(connection, ConsumerGroupHeartbeatRequest())
        finally:
            connection.close()

    async def _ask(self, connection: Connection, request: ConsumerGroupHeartbeatRequest) -> bool:
        """Whether the member has other partitions now, which it has to confirm."""
        request.group_id, request.member_id = self._group.group_id, self._id
        request.member_epoch = self._epoch
        answer: ConsumerGroupHeartbeatResponse = await connection.ask(*HEARTBEAT, request)
        assert answer.error_code == ErrorCode.NONE, (ErrorCode(answer.error_code).name, answer.error_message)
        if self._epoch == LEAVES:
            return False
        self._epoch = answer.member_epoch
        has_news = answer.assignment is not None
        if answer.assignment is not None:
            self._owned = [
                Owned(topic_id=bytes(one.topic_id), partitions=list(one.partitions))
                for one in answer.assignment.topic_partitions
            ]
        self._group.told(self._number, self._epoch, sum(len(one.partitions) for one in self._owned))
        return has_news


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("consumer-groups", options.rounds, PAIRS)
    with ExitStack() as stack:
        systems: list[System] = []
        for make in (PybrokerSystem, Kafka4System):
            system: System = make()
            stack.callback(system.close)
            systems.append(system)
            system.prepare()
            system.launch()
            await_answer(system)
            system.create_topic(TOPIC, PARTITIONS)
        warm_up = Figures("warm-up", 1, ())
        for number in range(-1, options.rounds):
            progress(f"round {number + 1} of {options.rounds}" if number >= 0 else "warming up")
            into = figures if number >= 0 else warm_up
            for system in rotated(systems, number):
                trio.run(join_and_leave, system, f"members-{number}", into)
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


async def join_and_leave(system: System, group_id: str, figures: Figures) -> None:
    await await_coordinator(system.port, group_id)
    group = Round(system.port, group_id)
    members = [Member(group, number) for number in range(MEMBERS)]
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            started_s = time.perf_counter()
            for member in members:
                nursery.start_soon(member.run)
            await group.stable(MEMBERS)
            figures.add(JOIN, system.name, time.perf_counter() - started_s)
            started_s = time.perf_counter()
            members[0].leave()
            await group.stable(MEMBERS - 1)
            figures.add(LEAVE, system.name, time.perf_counter() - started_s)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(main())
