"""The port every client of the matrix is driven through, so that each journey is written once.

An adapter translates and nothing else: it never retries, sorts or drops what the client gives.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

Acks = Literal["0", "1", "all"]
Headers = tuple[tuple[str, bytes | None], ...]

EARLIEST = -2
"""The reader's start that asks for the log start offset, by the client's own means."""
LATEST = -1
"""The same for the log end offset."""


class Message(Struct, frozen=True):
    """One record to send to a given partition; `timestamp_ms` None leaves it to the client."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


class Received(Struct, frozen=True):
    """One record as the client handed it out."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class ProducerSettings(Struct, frozen=True):
    codec: str = "none"
    acks: Acks = "all"
    idempotent: bool = False
    max_bytes: int | None = None
    """Raises the client's own limit of a record and a request."""
    creates_topics: bool = False
    """True: a topic that is not there is asked for, and given up soon where the broker makes none."""


class Traits(Struct, frozen=True):
    """What a client can do; the journeys leave out what it cannot, and the matrix does not show it."""

    codecs: tuple[str, ...] = ("none", "gzip", "snappy", "lz4", "zstd")
    idempotent: bool = True
    own_timestamps: bool = True
    binary: bool = True
    """False: keys and values are lines of text."""
    empty_is_null: bool = False
    """True: an empty key or value cannot be told from null."""
    headers: bool = True
    null_header_values: bool = True
    finds_by_time: bool = True
    static_members: bool = True
    orders_unacknowledged: bool = True
    """False: requests without acknowledgement go over several connections, and may overtake each other."""
    restart_fault: str = ""
    """What the client itself does wrong when its server is killed, seen against Apache Kafka too."""
    manages_topics: bool = True
    """False: topics appear by auto creation with one partition."""
    partition_count: int = 3


class Producer(ABC):
    """A long-lived producer of the client."""

    @abstractmethod
    def send(self, topic: str, messages: Sequence[Message]) -> None:
        """Hand the messages over in order; may return before they are acknowledged."""

    @abstractmethod
    def flush(self, timeout_s: float) -> None:
        """Until all sent messages are acknowledged (acks=0: written); raises the first failure."""

    @abstractmethod
    def close(self) -> None: ...


class Reader(ABC):
    """A consumer with one partition assigned by hand and no group."""

    @abstractmethod
    def read(self, count: int, timeout_s: float) -> list[Received]:
        """At least `count` further records if they come within `timeout_s`, else those that came."""

    @abstractmethod
    def close(self) -> None: ...


class TransactionalProducer(Producer):
    """A producer with a transactional id, whose epoch is its own when it has been made."""

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def send_offsets(self, member: "GroupMember", group: str) -> None:
        """Make the positions of a member part of the transaction."""

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def abort(self) -> None: ...


class GroupMember(ABC):
    """A consumer that joined a group; it lives only while it is polled."""

    @abstractmethod
    def poll(self, timeout_s: float) -> list[Received]: ...

    @abstractmethod
    def assignment(self) -> frozenset[tuple[str, int]]: ...

    @abstractmethod
    def commit(self) -> None:
        """Commit the position of everything polled, and wait for the answer."""

    @abstractmethod
    def close(self) -> None: ...


class GroupSettings(Struct, frozen=True):
    """`topics` holds names, or exactly one pattern that begins with `^`."""

    group: str
    topics: tuple[str, ...]
    strategy: str = "range"
    instance_id: str | None = None


class Client(Protocol):
    """One client library or program, connected to the server under test."""

    name: str
    version: str
    traits: Traits
    errors: tuple[type[Exception], ...]
    """What it raises when the server refuses."""

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None: ...

    def delete_topic(self, topic: str) -> None: ...

    def topics(self) -> Mapping[str, int]:
        """Every topic that the client sees, with its partition count."""
        ...

    def producer(self, settings: ProducerSettings) -> Producer: ...

    def reader(self, topic: str, partition: int, offset: int) -> Reader: ...

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """The first offset whose timestamp is at or after `timestamp_ms`; None when there is none."""
        ...

    def end_offset(self, topic: str, partition: int) -> int: ...

    def close(self) -> None: ...


class GroupClient(Client, Protocol):
    """A client whose consumers can join groups."""

    strategies: tuple[str, ...]
    faulty_strategies: Mapping[str, str]
    """Strategy -> what the client itself does wrong, seen against Apache Kafka too."""

    def member(self, settings: GroupSettings) -> GroupMember: ...

    def committed(self, group: str, topic: str, partition: int) -> int | None: ...

    def set_committed(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Reset the offset of a group that has no members."""
        ...


class TransactionalClient(GroupClient, Protocol):
    """A client whose producers can have transactions."""

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer: ...

    def committed_reader(self, topic: str, partition: int, offset: int) -> Reader:
        """A reader of committed records only."""
        ...
