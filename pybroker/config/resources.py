"""What the configuration APIs are about: a topic, a broker, a broker's loggers … (``ConfigResource``)."""

from enum import IntEnum

from pybroker.model.values import Value


class ResourceType(IntEnum):
    """The number that requests and replies carry (``ConfigResource.Type`` of Kafka 3.9)."""

    UNKNOWN = 0
    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32

    @classmethod
    def of(cls, number: int) -> "ResourceType":
        """The type of a number; UNKNOWN for those that Kafka 3.9 does not know."""
        return cls(number) if number in _RESOURCE_TYPES else cls.UNKNOWN


_RESOURCE_TYPES = frozenset(int(one) for one in ResourceType)


class ConfigResource(Value):
    """One resource; the text is the one that Kafka's sentences show."""

    number: int
    name: str

    @property
    def type(self) -> ResourceType:
        return ResourceType.of(self.number)

    def __str__(self) -> str:
        return f"ConfigResource(type={self.type.name}, name='{self.name}')"


def node_id(name: str) -> int | None:
    """The number that a broker's resource name stands for, as Java reads it; None if it is none."""
    digits = name[1:] if name[:1] in ("+", "-") else name
    if not (digits.isascii() and digits.isdecimal()) or len(digits.lstrip("0")) > 10:
        return None
    number = int(name)
    return number if -(2**31) <= number < 2**31 else None
