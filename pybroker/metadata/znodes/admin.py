"""The nodes through which tools ask the controller for something, and the counters it hands out from."""

from collections.abc import Mapping

from pybroker.metadata.znodes.controller import decode_partitions, encode_partitions
from pybroker.metadata.znodes.text import MalformedZnode, decode_object, encode_json
from pybroker.model.ids import BrokerId, ProducerId, TopicPartition
from pybroker.model.values import Value


class DeleteTopicsZNode:
    """Its children are the topics whose deletion was asked for."""

    path = "/admin/delete_topics"


class DeleteTopicsTopicZNode:
    """One topic to delete; the data is empty."""

    @staticmethod
    def path(topic: str) -> str:
        """Where the wish is put."""
        return f"{DeleteTopicsZNode.path}/{topic}"


class ReassignPartitionsZNode:
    """Reassignments asked for by tools older than KIP-455."""

    path = "/admin/reassign_partitions"

    @staticmethod
    def encode(replicas: Mapping[TopicPartition, tuple[BrokerId, ...]]) -> bytes:
        """JSON version 1."""
        return encode_json(
            {
                "version": 1,
                "partitions": [
                    {"topic": partition.topic, "partition": partition.partition, "replicas": list(target)}
                    for partition, target in replicas.items()
                ],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> dict[TopicPartition, tuple[BrokerId, ...]]:
        """The inverse.

        Raises:
            MalformedZnode: it holds something else.
        """
        value = decode_object(cls.path, data)
        try:
            return {
                TopicPartition(entry["topic"], entry["partition"]): tuple(entry["replicas"])
                for entry in value["partitions"]
            }
        except (KeyError, TypeError) as error:
            raise MalformedZnode(cls.path, data) from error


class PreferredReplicaElectionZNode:
    """Preferred elections asked for by old tools."""

    path = "/admin/preferred_replica_election"

    @staticmethod
    def encode(partitions: tuple[TopicPartition, ...]) -> bytes:
        """JSON version 1."""
        return encode_partitions(partitions)

    @classmethod
    def decode(cls, data: bytes) -> tuple[TopicPartition, ...]:
        """The inverse.

        Raises:
            MalformedZnode: it holds something else.
        """
        return decode_partitions(cls.path, data)


class ProducerIdBlockZNode(Value):
    """The block of producer ids handed out last; both ends are inclusive, and strings in the JSON."""

    broker_id: BrokerId
    block_start: ProducerId
    block_end: ProducerId

    path = "/latest_producer_id_block"

    def encode(self) -> bytes:
        """JSON version 1."""
        return encode_json(
            {
                "version": 1,
                "broker": self.broker_id,
                "block_start": str(self.block_start),
                "block_end": str(self.block_end),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "ProducerIdBlockZNode":
        """The inverse.

        Raises:
            MalformedZnode: it holds something else.
        """
        value = decode_object(cls.path, data)
        try:
            return cls(value["broker"], int(value["block_start"]), int(value["block_end"]))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedZnode(cls.path, data) from error


class FeatureZNode(Value):
    """The features the cluster has finalized. pybroker only ever writes it empty and enabled (version 2)."""

    status: int
    max_levels: Mapping[str, int]

    path = "/feature"

    ENABLED = 1

    def encode(self) -> bytes:
        """JSON version 2."""
        return encode_json({"version": 2, "status": self.status, "features": dict(self.max_levels)})

    @classmethod
    def decode(cls, data: bytes) -> "FeatureZNode":
        """Versions 1 and 2.

        Raises:
            MalformedZnode: it is neither.
        """
        value = decode_object(cls.path, data)
        try:
            features = value["features"]
            if value["version"] == 1:
                features = {name: levels["max_version_level"] for name, levels in features.items()}
            return cls(value["status"], dict(features))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedZnode(cls.path, data) from error
