"""What the configuration APIs show of a topic, a broker, or the defaults of all brokers: all from the table.

Source: ``ConfigHelper`` of Kafka 3.9. Pure functions; a handler only copies the entries into its reply.
"""

from collections.abc import Container, Mapping

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import broker_keys, find_broker_key, group_keys, topic_keys
from pybroker.config.keys import ConfigKey, TopicKey, UpdateMode
from pybroker.config.layers import ConfigSource, Synonym, found_in_layers
from pybroker.config.topic import TopicConfig, topic_defaults
from pybroker.config.values import ConfigType, ConfigValue, format_value
from pybroker.model.values import Value


class ConfigEntry(Value):
    """One key as a client sees it. ``value`` is ``None`` for null and for secrets.

    ``synonyms`` has the value in force first, then those that it hides.
    """

    name: str
    value: str | None
    source: ConfigSource
    sensitive: bool
    read_only: bool
    synonyms: tuple[Synonym, ...]
    type: ConfigType
    doc: str | None


def describe_topic(
    topic: TopicConfig, broker: BrokerConfig, names: Container[str] | None = None
) -> list[ConfigEntry]:
    """Every key of a topic, its own values and those it takes from the broker; ``names`` keeps only those."""
    values = topic_defaults(broker)
    values |= {name: topic_keys[name].parse(text) for name, text in topic.overrides.items()}
    return [
        _topic_entry(topic, broker, name, value)
        for name, value in sorted(values.items())
        if names is None or name in names
    ]


def describe_group(
    overrides: Mapping[str, str], broker: BrokerConfig, names: Container[str] | None = None
) -> list[ConfigEntry]:
    """Every key of a group that was set or is not internal, its own values and those it takes from the
    broker; ``names`` keeps only those."""
    return [
        _group_entry(row, overrides.get(name), broker)
        for name, row in sorted(group_keys.items())
        if (names is None or name in names) and (name in overrides or not row.internal)
    ]


def _group_entry(row: TopicKey, own: str | None, broker: BrokerConfig) -> ConfigEntry:
    synonyms = found_in_layers(broker.layers, row.synonyms[0])
    if own is not None:
        synonyms = (Synonym(row.name, own, ConfigSource.GROUP_CONFIG), *synonyms)
    return ConfigEntry(
        name=row.name,
        value=synonyms[0].value,
        source=_strongest(synonyms),
        sensitive=False,
        read_only=False,
        synonyms=synonyms,
        type=row.type,
        doc=row.doc,
    )


def describe_broker(broker: BrokerConfig, names: Container[str] | None = None) -> list[ConfigEntry]:
    """Every key in force in this broker: those of the table that are not internal, and what else was set."""
    given = broker.layers.merged()
    shown = {name for name, row in broker_keys.items() if not row.internal} | given.keys()
    return [
        _broker_entry(name, broker.values.get(name, given.get(name)), _found(broker, name))
        for name in sorted(shown)
        if names is None or name in names
    ]


def describe_default_broker(broker: BrokerConfig, names: Container[str] | None = None) -> list[ConfigEntry]:
    """What was set at run time for all brokers, and nothing else."""
    layer = ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG
    return [
        _broker_entry(name, text, tuple(found for found in _found(broker, name) if found.source is layer))
        for name, text in sorted(broker.layers.dynamic_default.items())
        if names is None or name in names
    ]


def is_sensitive(row: ConfigKey | None) -> bool:
    """Whether a value must not be shown. An unknown key may be anything, so it is taken for a secret."""
    return row is None or row.sensitive


def _topic_entry(topic: TopicConfig, broker: BrokerConfig, name: str, value: ConfigValue) -> ConfigEntry:
    row = topic_keys[name]
    text = format_value(value)
    synonyms = found_in_layers(broker.layers, row.synonyms[0]) if row.synonyms else ()
    if name in topic.overrides:
        synonyms = (Synonym(name, text, ConfigSource.TOPIC_CONFIG), *synonyms)
    return ConfigEntry(
        name=name,
        value=text,
        source=_strongest(synonyms),
        sensitive=False,
        read_only=False,
        synonyms=synonyms,
        type=row.type,
        doc=row.doc,
    )


def _broker_entry(name: str, value: ConfigValue, synonyms: tuple[Synonym, ...]) -> ConfigEntry:
    row = find_broker_key(name)
    in_table = broker_keys.get(name)
    sensitive = is_sensitive(row)
    return ConfigEntry(
        name=name,
        value=None if sensitive else format_value(value),
        source=_strongest(synonyms),
        sensitive=sensitive,
        # Kafka calls a listener's own keys and the replication quotas read-only, although they can be set.
        read_only=in_table is None or in_table.mode is UpdateMode.READ_ONLY,
        synonyms=synonyms,
        type=ConfigType.UNKNOWN if row is None else row.type,
        doc=None if in_table is None else in_table.doc,
    )


def _found(broker: BrokerConfig, name: str) -> tuple[Synonym, ...]:
    return found_in_layers(broker.layers, name, sensitive=is_sensitive(find_broker_key(name)))


def _strongest(synonyms: tuple[Synonym, ...]) -> ConfigSource:
    return synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG
