"""What the configuration APIs show: every key with its value, where it comes from, and what else bears on it.

Source: ``ConfigHelper`` of Kafka 3.9.
"""

from attrs import frozen

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import topic_keys
from pybroker.config.keys import ConfigKey
from pybroker.config.layers import ConfigSource, Synonym, found_in_layers
from pybroker.config.topic import TopicConfig
from pybroker.config.values import format_value


@frozen
class DescribedConfig:
    """One key as a client sees it. ``value`` is None for null and for a password.

    ``synonyms`` has the value in force first, then those that it hides.
    """

    key: ConfigKey
    value: str | None
    source: ConfigSource
    synonyms: tuple[Synonym, ...]
    read_only: bool = False

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def sensitive(self) -> bool:
        return self.key.sensitive


def describe_topic(topic: TopicConfig, broker: BrokerConfig) -> list[DescribedConfig]:
    """All keys of a topic, those that it sets itself and those that it takes from the broker."""
    return [_describe_topic_key(name, topic, broker) for name, key in topic_keys.items() if not key.internal]


def _describe_topic_key(name: str, topic: TopicConfig, broker: BrokerConfig) -> DescribedConfig:
    key = topic_keys[name]
    value = format_value(getattr(topic, name.replace(".", "_")))
    own = [Synonym(name, value, ConfigSource.TOPIC_CONFIG)] if name in topic.overrides else []
    inherited = found_in_layers(broker.layers, key.synonyms[0]) if key.synonyms else ()
    synonyms = (*own, *inherited)
    source = synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG
    return DescribedConfig(key, value, source, synonyms)
