"""Apache Kafka's Java client behind the client port, through one agent JVM."""

import struct
from collections.abc import Mapping, Sequence

from interop.support import maven
from interop.support.client import (
    GroupMember,
    GroupSettings,
    Headers,
    Message,
    Producer,
    ProducerSettings,
    Reader,
    Received,
    Traits,
    TransactionalProducer,
)
from interop.support.consumer_protocol_journeys import CONSUMER
from interop.support.jvm import Answer, Jvm, blob, text
from interop.support.waiting import Deadline

CALL_TIMEOUT_S = 90.0
POLL_MS = 200
ASSIGNORS = {
    "range": "org.apache.kafka.clients.consumer.RangeAssignor",
    "roundrobin": "org.apache.kafka.clients.consumer.RoundRobinAssignor",
    "sticky": "org.apache.kafka.clients.consumer.StickyAssignor",
    "cooperative": "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
}

_OLD_CODECS = ("none", "gzip", "snappy", "lz4")
ANCIENT = Traits(
    codecs=_OLD_CODECS,
    idempotent=False,
    own_timestamps=False,
    headers=False,
    finds_by_time=False,
    static_members=False,
    manages_topics=False,
    partition_count=1,
)
"""What java/OldAgent.java does with message sets v0 (0.9), v1 (0.10) and old requests (1.1)."""

TRAITS = {
    "clients-0.9": ANCIENT,
    "clients-0.10": ANCIENT,
    "clients-1.1": ANCIENT,
    "clients-2.0": Traits(codecs=_OLD_CODECS, static_members=False),
}

STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "clients-0.9": ("range", "roundrobin"),
    "clients-0.10": ("range", "roundrobin"),
    "clients-1.1": ("range", "roundrobin", "sticky"),
    "clients-2.0": ("range", "roundrobin", "sticky"),
}
"""Version set -> its assignors, where it has not all of ASSIGNORS."""


class JavaError(RuntimeError):
    """A call failed in Java; the message holds its own words."""


class _Agent:
    """Commands of java/Agent.java."""

    def __init__(self, program: str, set_name: str, bootstrap: str) -> None:
        self._jvm = Jvm(program, set_name, bootstrap)

    def call(self, command: str, arguments: bytes = b"", timeout_s: float = CALL_TIMEOUT_S) -> Answer:
        """Raises JavaError when the call failed there."""
        self._jvm.send(text(command) + arguments)
        answer = self._jvm.answer(timeout_s)
        if answer.int8() != 0:
            raise JavaError(f"{command}: {answer.text()}")
        return answer

    def close(self) -> None:
        self._jvm.close()


class JavaClient:
    """kafka-clients of one version set."""

    name = "kafka-clients"
    errors = (JavaError,)
    faulty_strategies: Mapping[str, str] = {}

    def __init__(self, bootstrap: str, set_name: str) -> None:
        self.traits = TRAITS.get(set_name, Traits())
        self.strategies = STRATEGIES.get(set_name, tuple(ASSIGNORS))
        old = self.traits == ANCIENT
        self._agent = _Agent("OldAgent" if old else "Agent", set_name, bootstrap)
        self.version = maven.VERSION_SETS[set_name][0].rpartition(":")[2]

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        self._agent.call("createTopic", text(topic) + struct.pack(">i", partitions) + _config(configs or {}))

    def delete_topic(self, topic: str) -> None:
        self._agent.call("deleteTopic", text(topic))

    def topics(self) -> Mapping[str, int]:
        answer = self._agent.call("topics")
        return {answer.text(): answer.int32() for _ in range(answer.int32())}

    def producer(self, settings: ProducerSettings) -> Producer:
        return _Producer(self._agent, settings)

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._agent, topic, partition, offset)

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        return _TransactionalProducer(self._agent, transactional_id)

    def committed_reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self._agent, topic, partition, offset, "openCommittedReader")

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        offset = self._agent.call(
            "offsetAt", _where(topic, partition) + struct.pack(">q", timestamp_ms)
        ).int64()
        return None if offset < 0 else offset

    def end_offset(self, topic: str, partition: int) -> int:
        return self._agent.call("endOffset", _where(topic, partition)).int64()

    def member(self, settings: GroupSettings) -> GroupMember:
        return _Member(self._agent, settings)

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        offset = self._agent.call("committed", text(group) + _where(topic, partition)).int64()
        return None if offset < 0 else offset

    def set_committed(self, group: str, topic: str, partition: int, offset: int) -> None:
        arguments = text(group) + _where(topic, partition) + struct.pack(">q", offset)
        self._agent.call("setCommitted", arguments)

    def close(self) -> None:
        self._agent.close()


class OldJavaClient(JavaClient):
    """A version without an admin client: an administrator of today makes the topics that its groups read."""

    def __init__(self, bootstrap: str, set_name: str) -> None:
        super().__init__(bootstrap, set_name)
        self._administrator = JavaClient(bootstrap, "clients-3.9")

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        self._administrator.create_topic(topic, partitions, configs)

    def close(self) -> None:
        super().close()
        self._administrator.close()


class _Producer(Producer):
    def __init__(
        self, agent: _Agent, settings: ProducerSettings, further: Mapping[str, str] | None = None
    ) -> None:
        self._agent = agent
        config = {
            "acks": settings.acks,
            "compression.type": settings.codec,
            "enable.idempotence": str(settings.idempotent).lower(),
            "linger.ms": "5",
            **({} if settings.max_bytes is None else {"max.request.size": str(settings.max_bytes)}),
            **({"max.block.ms": "5000"} if settings.creates_topics else {}),
            **(further or {}),
        }
        self._id = struct.pack(">i", agent.call("openProducer", _config(config)).int32())

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        packed = b"".join(_message(message) for message in messages)
        self._agent.call("send", self._id + text(topic) + struct.pack(">i", len(messages)) + packed)

    def flush(self, timeout_s: float) -> None:
        self._agent.call("flush", self._id, timeout_s)

    def close(self) -> None:
        self._agent.call("closeProducer", self._id)


class _TransactionalProducer(_Producer, TransactionalProducer):
    def __init__(self, agent: _Agent, transactional_id: str) -> None:
        super().__init__(agent, ProducerSettings(idempotent=True), {"transactional.id": transactional_id})
        agent.call("initTransactions", self._id)

    def begin(self) -> None:
        self._agent.call("begin", self._id)

    def send_offsets(self, member: GroupMember, group: str) -> None:
        assert isinstance(member, _Member)
        self._agent.call("sendOffsets", self._id + member.id + text(group))

    def commit(self) -> None:
        self._agent.call("commitTransaction", self._id)

    def abort(self) -> None:
        self._agent.call("abortTransaction", self._id)


class _Consumer:
    def __init__(self, agent: _Agent, consumer_id: int) -> None:
        self._agent = agent
        self._id = struct.pack(">i", consumer_id)

    @property
    def id(self) -> bytes:
        """How the agent knows it."""
        return self._id

    def poll_once(self, timeout_ms: int) -> list[Received]:
        answer = self._agent.call("poll", self._id + struct.pack(">q", timeout_ms))
        return [_received(answer) for _ in range(answer.int32())]

    def close(self) -> None:
        self._agent.call("closeConsumer", self._id)


class _Reader(_Consumer, Reader):
    def __init__(
        self, agent: _Agent, topic: str, partition: int, offset: int, command: str = "openReader"
    ) -> None:
        where = _where(topic, partition) + struct.pack(">q", offset)
        super().__init__(agent, agent.call(command, where).int32())

    def read(self, count: int, timeout_s: float) -> list[Received]:
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count and not deadline.passed:
            records += self.poll_once(POLL_MS)
        return records


class _Member(_Consumer, GroupMember):
    def __init__(self, agent: _Agent, settings: GroupSettings) -> None:
        config = {
            "group.id": settings.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": "false",
            "metadata.max.age.ms": "1000",
            **_protocol(settings.strategy),
        }
        if settings.instance_id is not None:
            config["group.instance.id"] = settings.instance_id
        topics = struct.pack(">i", len(settings.topics)) + b"".join(map(text, settings.topics))
        super().__init__(agent, agent.call("openMember", _config(config) + topics).int32())

    def poll(self, timeout_s: float) -> list[Received]:
        return self.poll_once(int(timeout_s * 1000))

    def assignment(self) -> frozenset[tuple[str, int]]:
        answer = self._agent.call("assignment", self._id)
        return frozenset((answer.text(), answer.int32()) for _ in range(answer.int32()))

    def commit(self) -> None:
        self._agent.call("commit", self._id)


def _protocol(strategy: str) -> dict[str, str]:
    if strategy == CONSUMER:
        return {"group.protocol": "consumer"}
    return {
        "partition.assignment.strategy": ASSIGNORS[strategy],
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "500",
    }


def _where(topic: str, partition: int) -> bytes:
    return text(topic) + struct.pack(">i", partition)


def _config(config: Mapping[str, str]) -> bytes:
    pairs = b"".join(text(key) + text(value) for key, value in config.items())
    return struct.pack(">i", len(config)) + pairs


def _message(message: Message) -> bytes:
    timestamp = -1 if message.timestamp_ms is None else message.timestamp_ms
    headers = b"".join(text(name) + blob(value) for name, value in message.headers)
    return (
        struct.pack(">iq", message.partition, timestamp)
        + blob(message.key)
        + blob(message.value)
        + struct.pack(">i", len(message.headers))
        + headers
    )


def _received(answer: Answer) -> Received:
    partition, offset, timestamp_ms = answer.int32(), answer.int64(), answer.int64()
    key, value = answer.blob(), answer.blob()
    headers: Headers = tuple((_name(answer.blob()), answer.blob()) for _ in range(answer.int32()))
    return Received(partition, offset, timestamp_ms, key, value, headers)


def _name(raw: bytes | None) -> str:
    assert raw is not None
    return raw.decode()
