"""A Java application, interop/java/Load.java: what its clients were told, and what they complained of."""

from collections.abc import Sequence

from msgspec import Struct

from interop.support.jvm import Answer, Jvm, text
from pybroker.model.ids import Offset, TopicPartition
from tests.support.history import History, Sent

MEMBERS = 2
STATUS_WITHIN_S = 30.0
STOP_WITHIN_S = 180.0


class Read(Struct, frozen=True):
    """What a group was given, in order, and how often partitions were taken from a settled member."""

    group: str
    rebalances: int
    records: Sequence[tuple[TopicPartition, Offset, Sent]]


class JavaLoad:
    """An idempotent producer with acks=all, and a group of two members for each of the group protocols.

    Args:
        set_name: the version set of kafka-clients.
        protocols: ``classic`` or ``consumer``.
    """

    def __init__(
        self, set_name: str, bootstrap: str, topic: str, partitions: int, protocols: Sequence[str]
    ) -> None:
        self.name = set_name
        self.history = History()
        self.errors: list[str] = []
        self.reads: list[Read] = []
        self._topic = topic
        self._partitions = partitions
        self._protocols = protocols
        self._rebalances = [0 for _ in protocols]
        self._jvm = Jvm("Load", set_name, bootstrap, set_name, topic, str(partitions), *protocols)

    def acknowledged(self) -> int:
        """How many records the producer was told are there."""
        return self._status()[0]

    def is_settled(self) -> bool:
        """Whether every member of every group has partitions. From then on nothing may be taken from one."""
        _, *groups = self._status()
        self._rebalances = groups[1::2]
        return all(holders == MEMBERS for holders in groups[0::2])

    def stop(self) -> None:
        """Waits until everything was acknowledged and read; what happened is in the attributes then."""
        self._jvm.send(text("stop"))
        answer = self._jvm.answer(STOP_WITHIN_S)
        self.errors = [f"{self.name}: {answer.text()}" for _ in range(answer.int32())]
        for tp, _, sent in self._records(answer):
            self.history.acknowledge(tp, sent)
        for protocol, before in zip(self._protocols, self._rebalances, strict=True):
            rebalances = answer.int32() - before
            self.reads.append(Read(f"{self.name} {protocol}", rebalances, self._records(answer)))

    def close(self) -> None:
        self._jvm.close()

    def _status(self) -> list[int]:
        self._jvm.send(text("status"))
        answer = self._jvm.answer(STATUS_WITHIN_S)
        return [answer.int32() for _ in range(1 + 2 * len(self._protocols))]

    def _records(self, answer: Answer) -> list[tuple[TopicPartition, Offset, Sent]]:
        return [
            (TopicPartition(self._topic, answer.int32()), answer.int64(), _sent(answer.text()))
            for _ in range(answer.int32())
        ]


def _sent(value: str) -> Sent:
    producer, _, number = value.partition(":")
    return Sent(producer, int(number))
