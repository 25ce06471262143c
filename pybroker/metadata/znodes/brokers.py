"""The nodes under /brokers/ids and /brokers/seqid, and /cluster/id: who is there."""

import base64
import uuid
from collections.abc import Mapping
from typing import Any

from msgspec import field

from pybroker.metadata.znodes.text import MalformedZnode, decode_object, encode_json
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.ids import BrokerId
from pybroker.model.values import Value


class BrokerIdsZNode:
    """Its children are the live brokers."""

    path = "/brokers/ids"


class BrokerSequenceZNode:
    """Its version is the sequence that generated broker ids come from."""

    path = "/brokers/seqid"


class FeatureRange(Value):
    """The levels of one feature that a broker supports, both bounds inclusive."""

    min_version: int
    max_version: int


class BrokerIdZNode(Value):
    """Registration of a live broker, written as JSON version 5. The czxid of the node is its broker epoch."""

    broker_id: BrokerId
    endpoints: tuple[Endpoint, ...]
    rack: str | None = None
    features: Mapping[str, FeatureRange] = field(default_factory=dict)
    jmx_port: int = -1
    timestamp_ms: int = 0

    @staticmethod
    def path(broker_id: BrokerId) -> str:
        """Where the broker registers."""
        return f"{BrokerIdsZNode.path}/{broker_id}"

    def encode(self) -> bytes:
        """JSON version 5. host and port are for clients older than 0.9: the first plaintext endpoint."""
        plaintext = next(
            (e for e in self.endpoints if e.security_protocol is SecurityProtocol.PLAINTEXT), None
        )
        value: dict[str, object] = {
            "features": {
                name: {"min_version": levels.min_version, "max_version": levels.max_version}
                for name, levels in self.features.items()
            },
            "listener_security_protocol_map": {e.listener: e.security_protocol.name for e in self.endpoints},
            "endpoints": [str(endpoint) for endpoint in self.endpoints],
            "jmx_port": self.jmx_port,
            "port": -1 if plaintext is None else plaintext.port,
            "host": None if plaintext is None else plaintext.host,
            "version": 5,
            "timestamp": str(self.timestamp_ms),
        }
        if self.rack is not None:
            value["rack"] = self.rack
        return encode_json(value)

    @classmethod
    def decode(cls, broker_id: BrokerId, data: bytes) -> "BrokerIdZNode":
        """Any version from 1.

        Raises:
            MalformedZnode: it is none of them.
        """
        path = cls.path(broker_id)
        value = decode_object(path, data)
        try:
            return cls(
                broker_id=broker_id,
                endpoints=_endpoints(value),
                rack=value.get("rack"),
                features={
                    name: FeatureRange(levels.get("min_version", 0), levels["max_version"])
                    for name, levels in (value.get("features") or {}).items()
                },
                jmx_port=value.get("jmx_port", -1),
                timestamp_ms=int(value.get("timestamp", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedZnode(path, data) from error


def _endpoints(value: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    if value["version"] < 1:
        raise ValueError("there was never a version 0")
    if value["version"] == 1:
        return (Endpoint("PLAINTEXT", value["host"], value["port"]),)
    protocols = value.get("listener_security_protocol_map")
    return tuple(_endpoint(text, protocols) for text in value["endpoints"])


def _endpoint(text: str, protocols: Mapping[str, str] | None) -> Endpoint:
    listener, separator, address = text.partition("://")
    host, colon, port = address.rpartition(":")
    if not separator or not colon:
        raise ValueError(f"{text!r} is no endpoint")
    protocol = listener if protocols is None else protocols[listener]
    return Endpoint(listener, host.strip("[]"), int(port), SecurityProtocol[protocol.upper()])


class ClusterIdZNode(Value):
    """The cluster's id: 22 characters of URL-safe base64. Here, and only here, the version is a string."""

    cluster_id: str

    path = "/cluster/id"

    def encode(self) -> bytes:
        """JSON version "1"."""
        return encode_json({"version": "1", "id": self.cluster_id})

    @classmethod
    def decode(cls, data: bytes) -> "ClusterIdZNode":
        """The inverse.

        Raises:
            MalformedZnode: there is no id in it.
        """
        value = decode_object(cls.path, data)
        if not isinstance(value.get("id"), str):
            raise MalformedZnode(cls.path, data)
        return cls(value["id"])


def new_cluster_id() -> str:
    """A random id in the form Kafka makes it."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
