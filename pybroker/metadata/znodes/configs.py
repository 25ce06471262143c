"""The nodes under /config: what is configured by topic, broker, client, user and address; and changes."""

from collections.abc import Mapping
from enum import StrEnum

from pybroker.metadata.znodes.text import MalformedZnode, decode_object, encode_json
from pybroker.model.values import Value

DEFAULT_ENTITY = "<default>"
"""The entity whose configuration holds where an entity has none of its own."""


class ConfigType(StrEnum):
    """Kinds of entities, in the words of the paths."""

    TOPIC = "topics"
    CLIENT = "clients"
    USER = "users"
    BROKER = "brokers"
    IP = "ips"
    GROUP = "groups"


class ConfigTypeZNode:
    """Its children are the entities of one type that have a configuration."""

    @staticmethod
    def path(config_type: ConfigType) -> str:
        """Where they are."""
        return f"/config/{config_type.value}"


class ConfigEntityZNode:
    """Configuration of one entity. A user's client is an entity too: ``alice/clients/app`` (sanitized)."""

    @staticmethod
    def path(config_type: ConfigType, entity: str) -> str:
        """Where it is."""
        return f"{ConfigTypeZNode.path(config_type)}/{entity}"

    @staticmethod
    def encode(values: Mapping[str, str]) -> bytes:
        """JSON version 1."""
        return encode_json({"version": 1, "config": dict(values)})

    @staticmethod
    def decode(path: str, data: bytes) -> dict[str, str]:
        """The values; an empty node (``/config/users/alice`` above its clients) has none.

        Raises:
            MalformedZnode: it holds something else.
        """
        if not data:
            return {}
        values = decode_object(path, data).get("config", {})
        if not isinstance(values, dict):
            raise MalformedZnode(path, data)
        return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


class ConfigChangeZNode(Value):
    """Word that an entity's configuration changed: sequential, read by all, purged after 15 minutes."""

    config_type: ConfigType
    entity: str

    parent = "/config/changes"
    sequence_prefix = f"{parent}/config_change_"

    def encode(self) -> bytes:
        """JSON version 2."""
        return encode_json({"version": 2, "entity_path": f"{self.config_type.value}/{self.entity}"})

    @classmethod
    def decode(cls, data: bytes) -> "ConfigChangeZNode":
        """Versions 1 and 2.

        Raises:
            MalformedZnode: it is neither, or of a type that this broker does not know.
        """
        value = decode_object(cls.parent, data)
        try:
            if value["version"] == 1:
                return cls(ConfigType(value["entity_type"]), value["entity_name"])
            config_type, _, entity = value["entity_path"].partition("/")
            return cls(ConfigType(config_type), entity)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedZnode(cls.parent, data) from error
