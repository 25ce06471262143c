"""The nodes under /brokers/topics: assignments, and who leads each partition."""

from collections.abc import Mapping

from msgspec import field
from msgspec.structs import replace

from pybroker.metadata.store import Stat
from pybroker.metadata.znodes.text import MalformedZnode, decode_object, encode_json
from pybroker.model.ids import (
    NO_LEADER,
    BrokerId,
    ControllerEpoch,
    LeaderEpoch,
    TopicId,
    TopicPartition,
    parse_topic_id,
    topic_id_text,
)
from pybroker.model.values import Value

RECOVERED = 0
RECOVERING = 1
"""Leader recovery states (KIP-704): RECOVERING after an unclean election, until the leader says else."""


class ReplicaAssignment(Value):
    """Replicas of one partition, the preferred leader first, and what a reassignment adds and removes."""

    replicas: tuple[BrokerId, ...]
    adding: tuple[BrokerId, ...] = ()
    removing: tuple[BrokerId, ...] = ()

    @property
    def is_being_reassigned(self) -> bool:
        """True from the first step of a reassignment to its last."""
        return bool(self.adding or self.removing)

    @property
    def target(self) -> tuple[BrokerId, ...]:
        """The replicas once a reassignment is over."""
        return tuple(replica for replica in self.replicas if replica not in self.removing)

    @property
    def origin(self) -> tuple[BrokerId, ...]:
        """The replicas before the reassignment began."""
        return tuple(replica for replica in self.replicas if replica not in self.adding)


class TopicsZNode:
    """Its children are the topics."""

    path = "/brokers/topics"


class TopicZNode(Value):
    """A topic: its id and the replicas of each partition. Written as version 3; older ones have no id."""

    partitions: Mapping[int, ReplicaAssignment]
    topic_id: TopicId | None = None

    @staticmethod
    def path(topic: str) -> str:
        """Where the topic is."""
        return f"{TopicsZNode.path}/{topic}"

    def encode(self) -> bytes:
        """JSON version 3."""
        value: dict[str, object] = {
            "partitions": {str(p): list(a.replicas) for p, a in self.partitions.items()},
            "adding_replicas": {str(p): list(a.adding) for p, a in self.partitions.items() if a.adding},
            "removing_replicas": {str(p): list(a.removing) for p, a in self.partitions.items() if a.removing},
            "version": 3,
        }
        if self.topic_id is not None:
            value["topic_id"] = topic_id_text(self.topic_id)
        return encode_json(value)

    @classmethod
    def decode(cls, topic: str, data: bytes) -> "TopicZNode":
        """Versions 1 to 3.

        Raises:
            MalformedZnode: it is none of them.
        """
        path = cls.path(topic)
        value = decode_object(path, data)
        try:
            adding = value.get("adding_replicas") or {}
            removing = value.get("removing_replicas") or {}
            partitions = {
                int(p): ReplicaAssignment(
                    tuple(replicas), tuple(adding.get(p, ())), tuple(removing.get(p, ()))
                )
                for p, replicas in value.get("partitions", {}).items()
            }
            id_text = value.get("topic_id")
            return cls(dict(sorted(partitions.items())), None if id_text is None else parse_topic_id(id_text))
        except (TypeError, ValueError, AttributeError) as error:
            raise MalformedZnode(path, data) from error


class TopicPartitionsZNode:
    """The folder of a topic's partitions."""

    @staticmethod
    def path(topic: str) -> str:
        """Where they are."""
        return f"{TopicZNode.path(topic)}/partitions"


class TopicPartitionZNode:
    """The folder of one partition's state."""

    @staticmethod
    def path(partition: TopicPartition) -> str:
        """Where it is."""
        return f"{TopicPartitionsZNode.path(partition.topic)}/{partition.partition}"


class LeaderAndIsr(Value):
    """Who leads a partition and who is in sync. ``partition_epoch`` is the version of the node it is in.

    The ISR never becomes empty: its last member stays, with leader -1.
    """

    leader: BrokerId
    leader_epoch: LeaderEpoch
    isr: tuple[BrokerId, ...]
    recovery_state: int = RECOVERED
    partition_epoch: int = 0

    @property
    def has_leader(self) -> bool:
        """False while no replica may lead."""
        return self.leader != NO_LEADER

    def next(
        self, leader: BrokerId, isr: tuple[BrokerId, ...], recovery_state: int | None = None
    ) -> "LeaderAndIsr":
        """What a controller makes of it: every state it writes itself raises the leader epoch."""
        return replace(
            self,
            leader=leader,
            isr=isr,
            leader_epoch=self.leader_epoch + 1,
            recovery_state=self.recovery_state if recovery_state is None else recovery_state,
        )


class PartitionStateZNode(Value):
    """A partition's state, with the epoch of the controller that wrote it."""

    state: LeaderAndIsr
    controller_epoch: ControllerEpoch = field(default=0)

    @staticmethod
    def path(partition: TopicPartition) -> str:
        """Where it is."""
        return f"{TopicPartitionZNode.path(partition)}/state"

    def encode(self) -> bytes:
        """JSON version 1; the recovery state only while it matters."""
        value: dict[str, object] = {
            "controller_epoch": self.controller_epoch,
            "leader": self.state.leader,
            "version": 1,
            "leader_epoch": self.state.leader_epoch,
            "isr": list(self.state.isr),
        }
        if self.state.recovery_state != RECOVERED:
            value["leader_recovery_state"] = self.state.recovery_state
        return encode_json(value)

    @classmethod
    def decode(cls, partition: TopicPartition, data: bytes, stat: Stat) -> "PartitionStateZNode":
        """The inverse; the node's version is the partition epoch.

        Raises:
            MalformedZnode: it holds something else.
        """
        path = cls.path(partition)
        value = decode_object(path, data)
        try:
            state = LeaderAndIsr(
                leader=value["leader"],
                leader_epoch=value["leader_epoch"],
                isr=tuple(value["isr"]),
                recovery_state=value.get("leader_recovery_state", RECOVERED),
                partition_epoch=stat.version,
            )
            return cls(state, value["controller_epoch"])
        except (KeyError, TypeError) as error:
            raise MalformedZnode(path, data) from error
