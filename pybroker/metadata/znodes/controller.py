"""Who is the controller, and what it is told through nodes."""

from pybroker.metadata.znodes.text import MalformedZnode, decode_object, encode_json
from pybroker.model.ids import BrokerId, ControllerEpoch, TopicPartition
from pybroker.model.values import Value


class ControllerZNode(Value):
    """The active controller: ephemeral, version 2. ``kraft_epoch`` above 0: a KRaft migration holds it."""

    broker_id: BrokerId
    timestamp_ms: int
    kraft_epoch: int = -1

    path = "/controller"

    def encode(self) -> bytes:
        """JSON version 2."""
        return encode_json(
            {
                "version": 2,
                "brokerid": self.broker_id,
                "timestamp": str(self.timestamp_ms),
                "kraftControllerEpoch": self.kraft_epoch,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "ControllerZNode":
        """Versions 1 and 2.

        Raises:
            MalformedZnode: it is neither.
        """
        value = decode_object(cls.path, data)
        try:
            return cls(
                int(value["brokerid"]), int(value.get("timestamp", 0)), value.get("kraftControllerEpoch", -1)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedZnode(cls.path, data) from error


class ControllerEpochZNode:
    """How many controllers there have been, as decimal text. Its zkVersion fences their writes."""

    path = "/controller_epoch"

    @staticmethod
    def encode(epoch: ControllerEpoch) -> bytes:
        """The number as text."""
        return str(epoch).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> ControllerEpoch:
        """The inverse.

        Raises:
            MalformedZnode: it is not a number.
        """
        try:
            return int(data)
        except ValueError as error:
            raise MalformedZnode(cls.path, data) from error


class IsrChangeNotificationZNode:
    """Leaders of old brokers name partitions here whose ISR they changed in the store themselves."""

    path = "/isr_change_notification"
    sequence_prefix = f"{path}/isr_change_"

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


class LogDirEventNotificationZNode:
    """Brokers name themselves here when one of their log directories failed."""

    path = "/log_dir_event_notification"
    sequence_prefix = f"{path}/log_dir_event_"

    @staticmethod
    def encode(broker_id: BrokerId) -> bytes:
        """JSON version 1; 1 is the only event there is."""
        return encode_json({"version": 1, "broker": broker_id, "event": 1})

    @classmethod
    def decode(cls, data: bytes) -> BrokerId:
        """The broker.

        Raises:
            MalformedZnode: it holds something else.
        """
        broker = decode_object(cls.path, data).get("broker")
        if not isinstance(broker, int):
            raise MalformedZnode(cls.path, data)
        return broker


def encode_partitions(partitions: tuple[TopicPartition, ...]) -> bytes:
    """A list of partitions as JSON version 1."""
    return encode_json(
        {"version": 1, "partitions": [{"topic": p.topic, "partition": p.partition} for p in partitions]}
    )


def decode_partitions(path: str, data: bytes) -> tuple[TopicPartition, ...]:
    """The inverse of :func:`encode_partitions`.

    Raises:
        MalformedZnode: it holds something else.
    """
    value = decode_object(path, data)
    try:
        return tuple(TopicPartition(entry["topic"], entry["partition"]) for entry in value["partitions"])
    except (KeyError, TypeError) as error:
        raise MalformedZnode(path, data) from error
