"""The broker's typed view: resolved, checked as a whole, and true to the table."""

import types
import typing
from collections.abc import Mapping

import pytest

from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import broker_keys
from pybroker.config.values import ConfigType, InvalidConfig, InvalidValue

PYTHON_TYPE = {
    ConfigType.BOOLEAN: bool,
    ConfigType.STRING: str,
    ConfigType.INT: int,
    ConfigType.SHORT: int,
    ConfigType.LONG: int,
    ConfigType.DOUBLE: float,
    ConfigType.LIST: tuple[str, ...],
    ConfigType.CLASS: str,
    ConfigType.PASSWORD: str,
}
DERIVED = {
    "layers",
    "values",
    "listeners",
    "log_dirs",
    "max_connections_per_ip_overrides",
    "zookeeper_connection_timeout_ms",
}


def test_every_attribute_has_the_type_of_its_key() -> None:
    hints = typing.get_type_hints(BrokerConfig)
    key_of = {name.replace(".", "_"): row for name, row in broker_keys.items()}
    for name in BrokerConfig.__struct_fields__:
        if name in DERIVED:
            continue
        row = key_of[name]
        expected: object = PYTHON_TYPE[row.type]
        if row.default is None:
            expected = typing.cast("type", expected) | types.NoneType
        assert hints[name] == expected, name


def test_without_properties_the_table_speaks() -> None:
    config = BrokerConfig.from_properties({})
    assert config.num_partitions == 1
    assert config.offsets_topic_replication_factor == 3
    assert config.log_dirs == ("/tmp/kafka-logs",)
    assert config.zookeeper_connection_timeout_ms == config.zookeeper_session_timeout_ms == 18_000
    assert config.uses_embedded_metadata
    assert config.pybroker_record_validation == "structure"
    assert config.get("ssl.enabled.protocols") == ("TLSv1.2", "TLSv1.3")


def test_derived_values() -> None:
    config = BrokerConfig.from_properties(
        {
            "log.dir": "/ignored",
            "log.dirs": "/a, /b,",
            "max.connections.per.ip.overrides": "127.0.0.1:5,::1:6",
            "zookeeper.connect": "zk:2181/kafka",
            "zookeeper.connection.timeout.ms": "7",
        }
    )
    assert config.log_dirs == ("/a", "/b")
    assert config.max_connections_per_ip_overrides == {"127.0.0.1": 5, "::1": 6}
    assert config.zookeeper_connection_timeout_ms == 7
    assert not config.uses_embedded_metadata


def test_a_listener_may_have_its_own_value_and_each_mechanism_too() -> None:
    config = BrokerConfig.from_properties(
        {
            "ssl.client.auth": "requested",
            "listener.name.outside.ssl.client.auth": "required",
            "listener.name.outside.plain.sasl.jaas.config": "for plain",
            "listener.name.outside.sasl.jaas.config": "for the listener",
        }
    )
    assert config.listener_value("OUTSIDE", "ssl.client.auth") == "required"
    assert config.listener_value("INSIDE", "ssl.client.auth") == "requested"
    assert config.listener_value("OUTSIDE", "sasl.jaas.config", mechanism="PLAIN") == "for plain"
    assert config.listener_value("OUTSIDE", "sasl.jaas.config", mechanism="GSSAPI") == "for the listener"


def test_a_bad_value_names_the_key_that_was_set() -> None:
    with pytest.raises(InvalidValue) as refused:
        BrokerConfig.from_properties({"listener.name.a.ssl.client.auth": "maybe"})
    assert refused.value.name == "listener.name.a.ssl.client.auth"
    assert str(refused.value) == (
        "Invalid value maybe for configuration listener.name.a.ssl.client.auth: "
        "String must be one of: required, requested, none"
    )


def test_a_change_at_run_time_makes_a_new_configuration() -> None:
    config = BrokerConfig.from_properties({"log.retention.hours": "1"})
    changed = config.with_layers(
        dynamic_default={"message.max.bytes": "1000"}, dynamic_broker={"message.max.bytes": "2000"}
    )
    assert config.message_max_bytes == 1_048_588
    assert changed.message_max_bytes == 2000
    assert changed.with_layers(dynamic_broker={}).message_max_bytes == 1000
    assert changed.with_layers(dynamic_broker={"message.max.bytes": "2000"}) is changed
    with pytest.raises(InvalidValue):
        config.with_layers(dynamic_broker={"message.max.bytes": "-1"})


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        (
            {"broker.id": "1001"},
            "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id",
        ),
        (
            {"broker.id": "-1", "broker.id.generation.enable": "false"},
            "broker.id must be greater than or equal to 0",
        ),
        ({"log.roll.ms": "0"}, "log.roll.ms must be greater than or equal to 1"),
        ({"log.roll.jitter.ms": "-1"}, "log.roll.jitter.ms must be greater than or equal to 0"),
        ({"log.retention.ms": "0"}, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
        ({"log.dirs": ","}, "At least one log directory must be defined via log.dirs or log.dir."),
        ({"log.dirs": ""}, "At least one log directory must be defined via log.dirs or log.dir."),
        (
            {"log.cleaner.dedupe.buffer.size": "1048576"},
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            {"log.cleaner.min.compaction.lag.ms": "5", "log.cleaner.max.compaction.lag.ms": "4"},
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)",
        ),
        (
            {"replica.fetch.wait.max.ms": "40000"},
            "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent "
            "unnecessary socket timeouts",
        ),
        (
            {"replica.lag.time.max.ms": "400"},
            "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to "
            "prevent frequent changes in ISR",
        ),
        (
            {"queued.max.request.bytes": "1000"},
            "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
        ),
        (
            {"max.connections.per.ip": "0"},
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is "
            "set.",
        ),
        (
            {"connections.max.idle.ms": "100"},
            "connection.failed.authentication.delay.ms=100 should always be less than "
            "connections.max.idle.ms=100 to prevent failed authentication responses from timing out",
        ),
        (
            {"group.coordinator.rebalance.protocols": "consumer"},
            "Disabling the 'classic' protocol is not supported.",
        ),
        (
            {"group.consumer.session.timeout.ms": "1"},
            "group.consumer.session.timeout.ms must be greater than or equals to "
            "group.consumer.min.session.timeout.ms",
        ),
        (
            {"group.consumer.assignment.interval.ms": "15001"},
            "group.consumer.assignment.interval.ms must be less than or equals to "
            "group.consumer.max.assignment.interval.ms",
        ),
        (
            {"group.share.heartbeat.interval.ms": "99000"},
            "group.share.heartbeat.interval.ms must be less than or equals to "
            "group.share.max.heartbeat.interval.ms",
        ),
        (
            {"offsets.commit.required.acks": "4"},
            "offsets.commit.required.acks must be greater or equal to -1 and less or equal to "
            "offsets.topic.replication.factor",
        ),
        (
            {"max.connections.per.ip.overrides": "a:b"},
            "Error parsing configuration property 'max.connections.per.ip.overrides': 'b' is not a number",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(properties: Mapping[str, str], sentence: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        BrokerConfig.from_properties(properties)
    assert str(refused.value) == sentence
