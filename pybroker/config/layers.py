"""Where a broker's value comes from: four layers, the strongest first, and how they are laid over each other.

Order: set for this broker at run time, set for all brokers at run time, set when the broker was started,
built in. Source: ``DynamicBrokerConfig`` and ``ConfigHelper.configSynonyms`` of Kafka 3.9. Pure functions.
"""

from collections.abc import Mapping
from enum import IntEnum

from msgspec import field

from pybroker.config.definitions import broker_keys, synonyms_of_broker_key
from pybroker.config.values import format_value
from pybroker.model.values import Value


class ConfigSource(IntEnum):
    """The number that DescribeConfigs gives for a layer (``DescribeConfigsResponse.ConfigSource``)."""

    UNKNOWN = 0
    TOPIC_CONFIG = 1
    DYNAMIC_BROKER_CONFIG = 2
    DYNAMIC_DEFAULT_BROKER_CONFIG = 3
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5
    DYNAMIC_BROKER_LOGGER_CONFIG = 6
    CLIENT_METRICS_CONFIG = 7
    GROUP_CONFIG = 8


class Layers(Value):
    """What was set in each layer, as text. The built-in layer is the table."""

    static: Mapping[str, str] = field(default_factory=dict)
    dynamic_default: Mapping[str, str] = field(default_factory=dict)
    dynamic_broker: Mapping[str, str] = field(default_factory=dict)

    def merged(self) -> dict[str, str]:
        """The text of every key that somebody set. A layer hides the weaker ones' other units of the same
        key: ``log.retention.ms`` set at run time wins over ``log.retention.hours`` of the file.
        """
        merged = dict(self.static)
        for layer in (self.dynamic_default, self.dynamic_broker):
            for name, text in layer.items():
                for synonym in synonyms_of_broker_key(name, match_listener=False):
                    merged.pop(synonym, None)
                merged[name] = text
        return merged


class Synonym(Value):
    """One place where a value was found. ``value`` is ``None`` for a password."""

    name: str
    value: str | None
    source: ConfigSource


def found_in_layers(layers: Layers, name: str, *, sensitive: bool = False) -> tuple[Synonym, ...]:
    """Everything that bears on the broker key ``name``, strongest first; the first one is in force.

    Entries before the key's own first one are left out: a plain key is not overridden by a listener's key.
    """
    names = synonyms_of_broker_key(name)
    found = [
        Synonym(candidate, None if sensitive else layer[candidate], source)
        for layer, source in (
            (layers.dynamic_broker, ConfigSource.DYNAMIC_BROKER_CONFIG),
            (layers.dynamic_default, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
            (layers.static, ConfigSource.STATIC_BROKER_CONFIG),
        )
        for candidate in names
        if candidate in layer
    ]
    for candidate in names:
        row = broker_keys.get(candidate)
        text = None if row is None else format_value(row.default)
        if text is not None:
            found.append(Synonym(candidate, None if sensitive else text, ConfigSource.DEFAULT_CONFIG))
    while found and found[0].name != name:
        del found[0]
    return tuple(found)
