"""DescribeConfigs shows every key with its value, where the value comes from, and no secrets."""

from collections.abc import Container, Mapping

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import broker_keys, topic_keys
from pybroker.config.describe import ConfigEntry, describe_broker, describe_default_broker, describe_topic
from pybroker.config.layers import ConfigSource, Synonym
from pybroker.config.topic import TopicConfig
from pybroker.config.values import ConfigType


def only(entries: list[ConfigEntry]) -> ConfigEntry:
    (entry,) = entries
    return entry


def topic_entries(
    properties: Mapping[str, str], overrides: Mapping[str, str], names: Container[str] | None = None
) -> list[ConfigEntry]:
    broker = BrokerConfig.from_properties(properties)
    return describe_topic(TopicConfig.from_overrides(broker, overrides), broker, names)


def test_a_topic_shows_every_topic_key_by_name() -> None:
    entries = topic_entries({}, {})
    assert [entry.name for entry in entries] == sorted(topic_keys)
    assert {entry.source for entry in entries} == {ConfigSource.DEFAULT_CONFIG}
    assert not any(entry.read_only or entry.sensitive for entry in entries)


def test_a_topics_value_from_the_brokers_file_is_named_by_the_brokers_key() -> None:
    properties = {"log.retention.minutes": "5", "log.retention.ms": "60000"}
    entry = only(topic_entries(properties, {}, {"retention.ms"}))
    assert (entry.value, entry.source, entry.type) == (
        "60000",
        ConfigSource.STATIC_BROKER_CONFIG,
        ConfigType.LONG,
    )
    assert entry.synonyms == (
        Synonym("log.retention.ms", "60000", ConfigSource.STATIC_BROKER_CONFIG),
        Synonym("log.retention.minutes", "5", ConfigSource.STATIC_BROKER_CONFIG),
        Synonym("log.retention.hours", "168", ConfigSource.DEFAULT_CONFIG),
    )
    assert entry.doc == topic_keys["retention.ms"].doc


def test_a_topics_own_value_stands_before_the_brokers() -> None:
    entry = only(topic_entries({}, {"cleanup.policy": "compact, delete"}, {"cleanup.policy"}))
    assert (entry.value, entry.source) == ("compact,delete", ConfigSource.TOPIC_CONFIG)
    assert entry.synonyms == (
        Synonym("cleanup.policy", "compact,delete", ConfigSource.TOPIC_CONFIG),
        Synonym("log.cleanup.policy", "delete", ConfigSource.DEFAULT_CONFIG),
    )


def test_a_broker_shows_all_but_internal_keys_and_says_which_may_change() -> None:
    entries = {entry.name: entry for entry in describe_broker(BrokerConfig.from_properties({}))}
    assert entries.keys() == {name for name, row in broker_keys.items() if not row.internal}
    assert entries["broker.id"].read_only
    assert not entries["message.max.bytes"].read_only
    assert entries["log.cleaner.io.max.bytes.per.second"].value == "1.7976931348623157E308"
    assert entries["log.dirs"].value is None


def test_secrets_and_unknown_keys_are_not_shown() -> None:
    broker = BrokerConfig.from_properties(
        {
            "ssl.key.password": "secret",
            "own.plugin.key": "perhaps secret",
            "group.share.enable": "true",
            "listener.name.a.ssl.client.auth": "none",
        }
    )
    entries = {entry.name: entry for entry in describe_broker(broker)}
    password, unknown = entries["ssl.key.password"], entries["own.plugin.key"]
    assert (password.value, password.sensitive, password.type) == (None, True, ConfigType.PASSWORD)
    assert password.synonyms == (Synonym("ssl.key.password", None, ConfigSource.STATIC_BROKER_CONFIG),)
    assert (unknown.value, unknown.sensitive, unknown.type) == (None, True, ConfigType.UNKNOWN)
    assert entries["group.share.enable"].value == "true"
    listener = entries["listener.name.a.ssl.client.auth"]
    assert (listener.value, listener.read_only, listener.doc) == ("none", True, None)


def test_run_time_values_are_named_as_such() -> None:
    broker = BrokerConfig.from_properties({}).with_layers(
        dynamic_default={"message.max.bytes": "5"}, dynamic_broker={"message.max.bytes": "6"}
    )
    entry = only(describe_broker(broker, {"message.max.bytes"}))
    assert (entry.value, entry.source) == ("6", ConfigSource.DYNAMIC_BROKER_CONFIG)
    default = only(describe_default_broker(broker))
    assert (default.value, default.source) == ("5", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG)
    assert [synonym.value for synonym in default.synonyms] == ["5"]
