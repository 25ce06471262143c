"""One member of a classic group."""

from collections.abc import Container

from pybroker.coordination.effects import Token
from pybroker.coordination.group.calls import JoinedMember, Protocols
from pybroker.model.values import State


class Member(State, eq=False):
    """A member; its one writer is its group.

    Attributes:
        is_new: it has never completed a rebalance, so it may not know its id and cannot send heartbeats.
        awaiting_join, awaiting_sync: the request of it that is waiting; None when there is none.
    """

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocol_type: str
    protocols: Protocols
    assignment: bytes = b""
    is_new: bool = False
    awaiting_join: Token | None = None
    awaiting_sync: Token | None = None

    @property
    def is_static(self) -> bool:
        return self.instance_id is not None

    @property
    def is_excused(self) -> bool:
        """Whether it need not send heartbeats, because it waits for an answer of ours."""
        return not self.is_new and (self.awaiting_join is not None or self.awaiting_sync is not None)

    def metadata(self, protocol: str) -> bytes:
        """What it said for a protocol that it supports.

        Raises:
            ValueError: it does not.
        """
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        raise ValueError(f"member {self.member_id} does not support the protocol {protocol}")

    def vote(self, candidates: Container[str]) -> str:
        """The candidate that it likes best; there must be one."""
        return next(name for name, _ in self.protocols if name in candidates)

    def joined(self, protocol: str) -> JoinedMember:
        return JoinedMember(self.member_id, self.instance_id, self.metadata(protocol))
