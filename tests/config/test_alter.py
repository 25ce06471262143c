"""Changes at run time: lists grow and shrink, and only what may change changes."""

from collections.abc import Mapping, Sequence

import pytest

from pybroker.config.alter import Change, Operation, apply_changes, check_broker_update, usable_updates
from pybroker.config.broker import BrokerConfig
from pybroker.config.definitions import topic_keys
from pybroker.config.values import InvalidConfig

BROKER = BrokerConfig.from_properties({"num.io.threads": "8"})


@pytest.mark.parametrize(
    ("stored", "changes", "result"),
    [
        ({}, [Change(Operation.SET, "retention.ms", "5")], {"retention.ms": "5"}),
        ({"retention.ms": "5"}, [Change(Operation.DELETE, "retention.ms")], {}),
        ({}, [Change(Operation.DELETE, "retention.ms")], {}),
        (
            {},
            [Change(Operation.APPEND, "cleanup.policy", "compact,delete")],
            {"cleanup.policy": "delete,compact"},
        ),
        (
            {"cleanup.policy": ""},
            [Change(Operation.APPEND, "cleanup.policy", "compact")],
            {"cleanup.policy": "compact"},
        ),
        (
            {"cleanup.policy": "compact,delete"},
            [Change(Operation.SUBTRACT, "cleanup.policy", "compact,other")],
            {"cleanup.policy": "delete"},
        ),
        ({}, [Change(Operation.SUBTRACT, "cleanup.policy", "delete")], {"cleanup.policy": ""}),
    ],
)
def test_incremental_changes(
    stored: Mapping[str, str], changes: Sequence[Change], result: Mapping[str, str]
) -> None:
    assert apply_changes(stored, changes, topic_keys) == result


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            Change(Operation.APPEND, "retention.ms", "5"),
            "Config value append is not allowed for config key: retention.ms",
        ),
        (
            Change(Operation.SUBTRACT, "retention.ms", "5"),
            "Config value subtract is not allowed for config key: retention.ms",
        ),
        (Change(Operation.APPEND, "no.such", "5"), "Unknown config name: no.such"),
    ],
)
def test_only_lists_are_appended_to(change: Change, sentence: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        apply_changes({}, [change], topic_keys)
    assert str(refused.value) == sentence


def test_an_allowed_update_gives_the_new_configuration() -> None:
    changed = check_broker_update(
        BROKER, {"message.max.bytes": "7", "num.io.threads": "16"}, for_this_broker=True
    )
    assert (changed.message_max_bytes, changed.num_io_threads) == (7, 16)
    changed = check_broker_update(BROKER, {"log.retention.ms": "7"}, for_this_broker=False)
    assert changed.get("log.retention.ms") == 7
    check_broker_update(BROKER, {"listener.name.a.max.connections": "5"}, for_this_broker=False)
    check_broker_update(BROKER, {"listener.name.a.ssl.keystore.type": "PEM"}, for_this_broker=True)
    check_broker_update(BROKER, {"leader.replication.throttled.rate": "100"}, for_this_broker=True)


@pytest.mark.parametrize(
    ("configs", "for_this_broker", "sentence"),
    [
        (
            {"broker.id": "5", "log.retention.hours": "1"},
            True,
            "Cannot update these configs dynamically: Set(broker.id, log.retention.hours)",
        ),
        (
            {"ssl.keystore.type": "PEM"},
            True,
            "These security configs can be dynamically updated only per-listener using the listener prefix: "
            "Set(ssl.keystore.type)",
        ),
        (
            {"listener.name.a.ssl.keystore.type": "PEM"},
            False,
            "Cannot update these configs at default cluster level, broker id must be specified: "
            "Set(listener.name.a.ssl.keystore.type)",
        ),
        (
            {"message.max.bytes": "-1"},
            False,
            "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
        ),
        (
            {"leader.replication.throttled.rate": "-1"},
            True,
            "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be at least 0",
        ),
    ],
)
def test_other_updates_are_refused_in_kafkas_words(
    configs: Mapping[str, str], for_this_broker: bool, sentence: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        check_broker_update(BROKER, configs, for_this_broker=for_this_broker)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("configs", "sentence"),
    [
        (
            {"num.io.threads": "17"},
            "Dynamic thread count update validation failed for num.io.threads=17, value should not be "
            "greater than double the current value 8",
        ),
        (
            {"num.io.threads": "3"},
            "Dynamic thread count update validation failed for num.io.threads=3, value should be at least "
            "half the current value 8",
        ),
        (
            {"num.replica.fetchers": "0"},
            "Dynamic thread count update validation failed for num.replica.fetchers=0, value should be at "
            "least 1",
        ),
        (
            {"log.cleaner.threads": "3"},
            "Log cleaner threads cannot be increased to more than double the current value 1",
        ),
        (
            {"listeners": "PLAINTEXT://:1"},
            "Listeners cannot be updated dynamically, restart broker for update",
        ),
    ],
)
def test_what_a_component_refuses_is_wrapped_as_kafka_wraps_it(
    configs: Mapping[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        check_broker_update(BROKER, configs, for_this_broker=True)
    assert str(refused.value) == (
        f"Invalid value org.apache.kafka.common.config.ConfigException: {sentence} "
        "for configuration Invalid dynamic configuration"
    )


def test_stored_values_that_cannot_be_used_are_left_out() -> None:
    stored = {
        "message.max.bytes": "7",
        "max.connections": "many",
        "broker.id": "4",
        "ssl.keystore.type": "PEM",
        "listener.name.a.ssl.keystore.password": "encoded",
        "listener.name.a.ssl.keystore.type": "PEM",
        "of.another.tool": "x",
    }
    usable = usable_updates(stored, for_this_broker=False)
    assert usable == {"message.max.bytes": "7", "of.another.tool": "x"}
    assert "listener.name.a.ssl.keystore.type" in usable_updates(stored, for_this_broker=True)
