"""Members of one group, as clients of either protocol behave: they join, take their assignment, and send
heartbeats."""

import uuid

import trio

from interop.benchmarks.wire import Connection, connect
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    HeartbeatRequest,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
)

JOIN, HEARTBEAT, LEAVE, SYNC, CONSUMER_HEARTBEAT = (11, 5), (12, 3), (13, 2), (14, 3), (68, 1)
HEARTBEAT_S = 0.1
SESSION_MS, REBALANCE_MS = 30_000, 60_000
ASSIGNMENT = b"assigned"
LEAVES = -1

Owned = ConsumerGroupHeartbeatRequest.TopicPartitions


class Round:
    """The members of a group, and whether they have settled: all are in the same generation, or epoch, and
    together have ``partitions``."""

    def __init__(self, port: int, group_id: str, topic: str, partitions: int) -> None:
        self.port = port
        self.group_id = group_id
        self.topic = topic
        self._partitions = partitions
        self._expected = 0
        self._members: dict[int, tuple[int, int]] = {}
        self._stable = trio.Event()

    def settled(self, number: int, epoch: int, owned: int) -> None:
        """A member is in a generation, or epoch, with so many partitions."""
        self._members[number] = (epoch, owned)
        epochs = {epoch for epoch, _ in self._members.values()}
        is_whole = sum(owned for _, owned in self._members.values()) == self._partitions
        if len(self._members) == self._expected and len(epochs) == 1 and is_whole:
            self._stable.set()

    def unsettled(self, number: int) -> None:
        """A member is not there, or not there yet."""
        self._members.pop(number, None)

    async def stable(self, expected: int) -> None:
        """Wait until so many members have settled, from now on."""
        self._expected = expected
        self._stable = trio.Event()
        await self._stable.wait()


class Member:
    """One consumer with a connection of its own. :meth:`run` is its life."""

    def __init__(self, group: Round, number: int) -> None:
        self._group = group
        self._number = number
        self._leaving = trio.Event()

    def leave(self) -> None:
        """Soon, instead of the next heartbeat."""
        self._leaving.set()

    async def run(self) -> None:
        """A member until it leaves, or is cancelled."""
        connection = await connect(self._group.port)
        try:
            await self._stay_until_told(connection)
            self._group.unsettled(self._number)
            await self._go(connection)
        finally:
            connection.close()

    async def _stay_until_told(self, connection: Connection) -> None:
        raise NotImplementedError

    async def _go(self, connection: Connection) -> None:
        raise NotImplementedError

    async def _is_told_to_leave(self) -> bool:
        """Whether it is, within the time between two heartbeats."""
        with trio.move_on_after(HEARTBEAT_S):
            await self._leaving.wait()
        return self._leaving.is_set()


class ClassicMember(Member):
    """By JoinGroup and SyncGroup. Who has which partition is the members' own business: none are counted."""

    def __init__(self, group: Round, number: int) -> None:
        super().__init__(group, number)
        self._id = ""

    async def _stay_until_told(self, connection: Connection) -> None:
        while not self._leaving.is_set():
            generation = await self._join_and_sync(connection)
            if generation is not None:
                self._group.settled(self._number, generation, owned=0)
                await self._stay(connection, generation)

    async def _go(self, connection: Connection) -> None:
        await connection.ask(*LEAVE, LeaveGroupRequest(group_id=self._group.group_id, member_id=self._id))

    async def _join_and_sync(self, connection: Connection) -> int | None:
        """The generation; None when it was over before it began."""
        protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"")
        request = JoinGroupRequest(
            group_id=self._group.group_id,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=self._id,
            protocol_type="consumer",
            protocols=[protocol],
        )
        joined: JoinGroupResponse = await connection.ask(*JOIN, request)
        if joined.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self._id = joined.member_id
            return None
        assert joined.error_code == ErrorCode.NONE, ErrorCode(joined.error_code).name
        self._id = joined.member_id
        assigned = SyncGroupRequest.SyncGroupRequestAssignment
        is_leader = joined.leader == self._id
        synced = await connection.ask(
            *SYNC,
            SyncGroupRequest(
                group_id=self._group.group_id,
                generation_id=joined.generation_id,
                member_id=self._id,
                assignments=[
                    assigned(member_id=member.member_id, assignment=ASSIGNMENT)
                    for member in (joined.members if is_leader else ())
                ],
            ),
        )
        if synced.error_code == ErrorCode.REBALANCE_IN_PROGRESS:
            return None
        assert synced.error_code == ErrorCode.NONE, ErrorCode(synced.error_code).name
        assert synced.assignment == ASSIGNMENT
        return joined.generation_id

    async def _stay(self, connection: Connection, generation: int) -> None:
        beat = HeartbeatRequest(group_id=self._group.group_id, generation_id=generation, member_id=self._id)
        while not await self._is_told_to_leave():
            answer = await connection.ask(*HEARTBEAT, beat)
            if answer.error_code == ErrorCode.REBALANCE_IN_PROGRESS:
                self._group.unsettled(self._number)
                return
            assert answer.error_code == ErrorCode.NONE, ErrorCode(answer.error_code).name


class ConsumerMember(Member):
    """By ConsumerGroupHeartbeat (KIP-848). It gives up partitions as soon as it is told to."""

    def __init__(self, group: Round, number: int) -> None:
        super().__init__(group, number)
        self._id = str(uuid.uuid4())
        self._epoch = 0
        self._owned: list[Owned] = []

    async def _stay_until_told(self, connection: Connection) -> None:
        has_news = await self._ask(
            connection,
            ConsumerGroupHeartbeatRequest(
                rebalance_timeout_ms=REBALANCE_MS,
                subscribed_topic_names=[self._group.topic],
                topic_partitions=[],
            ),
        )
        while has_news or not await self._is_told_to_leave():
            request = ConsumerGroupHeartbeatRequest()
            if has_news:
                request.topic_partitions = self._owned
            has_news = await self._ask(connection, request)

    async def _go(self, connection: Connection) -> None:
        self._epoch = LEAVES
        await self._ask(connection, ConsumerGroupHeartbeatRequest())

    async def _ask(self, connection: Connection, request: ConsumerGroupHeartbeatRequest) -> bool:
        """Whether the member has other partitions now, which it has to confirm."""
        request.group_id, request.member_id = self._group.group_id, self._id
        request.member_epoch = self._epoch
        answer: ConsumerGroupHeartbeatResponse = await connection.ask(*CONSUMER_HEARTBEAT, request)
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
        self._group.settled(self._number, self._epoch, sum(len(one.partitions) for one in self._owned))
        return has_news
