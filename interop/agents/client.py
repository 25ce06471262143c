"""A client library in another language behind the client port; see `README.md` for the lines it speaks."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from interop.agents.process import AgentProcess, CallFailed
from interop.support.client import (
    GroupMember,
    GroupSettings,
    Message,
    Producer,
    ProducerSettings,
    Reader,
    Received,
    Traits,
    TransactionalProducer,
)
from interop.support.waiting import Deadline

CALL_TIMEOUT_S = 90.0
POLL_MS = 200
POLL_GRACE_S = 30.0
"""How much longer than asked a poll may take before the agent counts as stuck."""


class Library(Struct, frozen=True):
    """What an agent's library can do beyond `Traits`, and how its rows are called."""

    name: str
    traits: Traits
    strategies: tuple[str, ...] = ()
    faulty_strategies: Mapping[str, str] = {}


class AgentClient:
    """One library, driven through its agent."""

    errors = (CallFailed,)

    def __init__(self, library: Library, agent: AgentProcess) -> None:
        self.name = library.name
        self.traits = library.traits
        self.strategies = library.strategies
        self.faulty_strategies = library.faulty_strategies
        self._agent = agent
        self.version = str(self._call("version")["version"])

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        self._call("createTopic", topic=topic, partitions=partitions, configs=dict(configs or {}))

    def delete_topic(self, topic: str) -> None:
        self._call("deleteTopic", topic=topic)

    def topics(self) -> Mapping[str, int]:
        listed: Mapping[str, int] = self._call("topics")["topics"]
        return listed

    def producer(self, settings: ProducerSettings) -> Producer:
        opened = self._call(
            "openProducer", codec=settings.codec, acks=settings.acks, idempotent=settings.idempotent,
            autoCreate=settings.creates_topics, maxBytes=settings.max_bytes or 0,
        )  # fmt: skip
        return _Producer(self._agent, opened["id"])

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        opened = self._call("openReader", topic=topic, partition=partition, offset=offset)
        return _Reader(self._agent, opened["id"])

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        opened = self._call("openTransactional", transactionalId=transactional_id)
        return _TransactionalProducer(self._agent, opened["id"])

    def committed_reader(self, topic: str, partition: int, offset: int) -> Reader:
        opened = self._call("openCommittedReader", topic=topic, partition=partition, offset=offset)
        return _Reader(self._agent, opened["id"])

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        return _offset(self._call("offsetAt", topic=topic, partition=partition, timestampMs=timestamp_ms))

    def end_offset(self, topic: str, partition: int) -> int:
        return int(self._call("endOffset", topic=topic, partition=partition)["offset"])

    def member(self, settings: GroupSettings) -> GroupMember:
        opened = self._call(
            "openMember", group=settings.group, topics=list(settings.topics), strategy=settings.strategy,
            instanceId=settings.instance_id or "",
        )  # fmt: skip
        return _Member(self._agent, opened["id"])

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        return _offset(self._call("committed", group=group, topic=topic, partition=partition))

    def set_committed(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Reset the offset of a group that has no members."""
        self._call("setCommitted", group=group, topic=topic, partition=partition, offset=offset)

    def close(self) -> None:
        self._agent.close()

    def _call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self._agent.call(name, CALL_TIMEOUT_S, **arguments)


class _Producer(Producer):
    def __init__(self, agent: AgentProcess, producer_id: int) -> None:
        self._agent = agent
        self._id = producer_id

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        packed = [_packed(message) for message in messages]
        self._agent.call("send", CALL_TIMEOUT_S, id=self._id, topic=topic, messages=packed)

    def flush(self, timeout_s: float) -> None:
        self._agent.call("flush", timeout_s + POLL_GRACE_S, id=self._id, timeoutMs=int(timeout_s * 1000))

    def close(self) -> None:
        self._agent.call("closeProducer", CALL_TIMEOUT_S, id=self._id)


class _TransactionalProducer(_Producer, TransactionalProducer):
    def begin(self) -> None:
        self._agent.call("begin", CALL_TIMEOUT_S, id=self._id)

    def send_offsets(self, member: GroupMember, group: str) -> None:
        raise NotImplementedError(f"positions of {member} in {group} apart from the library's own sessions")

    def commit(self) -> None:
        self._agent.call("end", CALL_TIMEOUT_S, id=self._id, commit=True)

    def abort(self) -> None:
        self._agent.call("end", CALL_TIMEOUT_S, id=self._id, commit=False)


class _Consumer:
    def __init__(self, agent: AgentProcess, consumer_id: int) -> None:
        self._agent = agent
        self._id = consumer_id

    def poll_once(self, timeout_ms: int) -> list[Received]:
        answer = self._agent.call("poll", timeout_ms / 1000 + POLL_GRACE_S, id=self._id, timeoutMs=timeout_ms)
        return [_received(record) for record in answer["records"] or ()]

    def close(self) -> None:
        self._agent.call("closeConsumer", CALL_TIMEOUT_S, id=self._id)


class _Reader(_Consumer, Reader):
    def read(self, count: int, timeout_s: float) -> list[Received]:
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count and not deadline.passed:
            records += self.poll_once(POLL_MS)
        return records


class _Member(_Consumer, GroupMember):
    def poll(self, timeout_s: float) -> list[Received]:
        return self.poll_once(int(timeout_s * 1000))

    def assignment(self) -> frozenset[tuple[str, int]]:
        answer = self._agent.call("assignment", CALL_TIMEOUT_S, id=self._id)
        return frozenset((each["topic"], each["partition"]) for each in answer["assigned"] or ())

    def commit(self) -> None:
        self._agent.call("commit", CALL_TIMEOUT_S, id=self._id)


def _offset(answer: Mapping[str, Any]) -> int | None:
    return None if answer["offset"] < 0 else int(answer["offset"])


def _packed(message: Message) -> dict[str, Any]:
    packed: dict[str, Any] = {
        "partition": message.partition,
        "key": _text(message.key),
        "value": _text(message.value),
        "headers": [{"name": name, "value": _text(value)} for name, value in message.headers],
    }
    if message.timestamp_ms is not None:
        packed["timestampMs"] = message.timestamp_ms
    return packed


def _received(record: Mapping[str, Any]) -> Received:
    return Received(
        partition=record["partition"],
        offset=record["offset"],
        timestamp_ms=record["timestampMs"],
        key=_bytes(record["key"]),
        value=_bytes(record["value"]),
        headers=tuple((header["name"], _bytes(header["value"])) for header in record["headers"] or ()),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else b64decode(value)
