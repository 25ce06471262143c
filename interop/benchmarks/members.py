"""Members of one classic group, as clients behave: they join, take their assignment, and send heartbeats."""

import trio

from interop.benchmarks.wire import Connection, connect
from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    HeartbeatRequest,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
)

JOIN, HEARTBEAT, LEAVE, SYNC = (11, 5), (12, 3), (13, 2), (14, 3)
HEARTBEAT_S = 0.1
SESSION_MS, REBALANCE_MS = 30_000, 60_000
ASSIGNMENT = b"assigned"


class Round:
    """The members of a group, and whether all of them are in the same generation."""

    def __init__(self, port: int, group_id: str) -> None:
        self.port = port
        self.group_id = group_id
        self.expected = 0
        self._generations: dict[int, int] = {}
        self._stable = trio.Event()

    def settled(self, number: int, generation: int) -> None:
        self._generations[number] = generation
        if len(self._generations) == self.expected and len(set(self._generations.values())) == 1:
            self._stable.set()

    def unsettled(self, number: int) -> None:
        self._generations.pop(number, None)

    async def stable(self, expected: int) -> None:
        """Wait until so many members are together, from now on."""
        self.expected = expected
        self._stable = trio.Event()
        await self._stable.wait()


class Member:
    """One consumer with a connection of its own."""

    def __init__(self, group: Round, number: int) -> None:
        self._group = group
        self._number = number
        self._id = ""
        self._leaving = trio.Event()

    def leave(self) -> None:
        """Soon, instead of the next heartbeat."""
        self._leaving.set()

    async def run(self) -> None:
        """A member until it leaves, or is cancelled."""
        connection = await connect(self._group.port)
        try:
            while not self._leaving.is_set():
                generation = await self._join_and_sync(connection)
                if generation is not None:
                    self._group.settled(self._number, generation)
                    await self._stay(connection, generation)
            self._group.unsettled(self._number)
            await connection.ask(*LEAVE, LeaveGroupRequest(group_id=self._group.group_id, member_id=self._id))
        finally:
            connection.close()

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
        while True:
            with trio.move_on_after(HEARTBEAT_S):
                await self._leaving.wait()
                return
            answer = await connection.ask(*HEARTBEAT, beat)
            if answer.error_code == ErrorCode.REBALANCE_IN_PROGRESS:
                self._group.unsettled(self._number)
                return
            assert answer.error_code == ErrorCode.NONE, ErrorCode(answer.error_code).name
