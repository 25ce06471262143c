"""The table agrees with Apache Kafka's own classes, as ``tests/golden/config/DumpConfigs.java`` tells."""

import json
from pathlib import Path
from typing import Any

import pytest

from pybroker.config.definitions import (
    broker_keys,
    broker_quota_keys,
    find_broker_key,
    synonyms_of_broker_key,
    topic_keys,
)
from pybroker.config.keys import ConfigKey
from pybroker.config.values import format_value

_DUMP = Path(__file__).parents[1] / "golden" / "config" / "kafka-3.9.2.json"
KAFKA: dict[str, dict[str, Any]] = json.loads(_DUMP.read_text())

OURS = {name for name in broker_keys if name.startswith("pybroker.")}
OF_KAFKA_4 = {
    "group.consumer.assignment.interval.ms",
    "group.consumer.max.assignment.interval.ms",
    "group.consumer.min.assignment.interval.ms",
}
OF_THE_AUTHORIZER = {"allow.everyone.if.no.acl.found", "super.users"}
OTHER_DEFAULT = {
    "queued.max.request.bytes": 256 * 1024 * 1024,
    # Kafka 4's: groups of the consumer protocol are served, and may change their protocol.
    "group.consumer.migration.policy": "bidirectional",
    "group.coordinator.rebalance.protocols": ("classic", "consumer"),
}
OTHER_RULE = {
    # Kafka parses the addresses of a quorum that a broker here never joins.
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    # The same rule in our words.
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
}


def _row(key: ConfigKey) -> dict[str, Any]:
    row: dict[str, Any] = {"type": key.type.name.lower(), "default": format_value(key.default)}
    if key.validator is not None:
        row["valid"] = key.validator.describe()
    row["importance"] = key.importance.value
    if key.internal:
        row["internal"] = True
    row["mode"] = key.mode.value
    return row


@pytest.mark.parametrize("name", KAFKA["broker"])
def test_a_broker_key_is_defined_as_in_kafka(name: str) -> None:
    expected, actual = dict(KAFKA["broker"][name]), _row(broker_keys[name])
    if name in OTHER_DEFAULT:
        assert broker_keys[name].default == OTHER_DEFAULT[name]
        expected["default"] = actual["default"]
    if name in OTHER_RULE:
        expected.pop("valid"), actual.pop("valid", None)
    assert actual == expected


@pytest.mark.parametrize("name", KAFKA["topic"])
def test_a_topic_key_is_defined_as_in_kafka(name: str) -> None:
    actual = _row(topic_keys[name])
    actual.pop("mode")
    assert actual == KAFKA["topic"][name]
    assert list(topic_keys[name].synonyms) == KAFKA["synonyms"].get(name, [])


@pytest.mark.parametrize("name", KAFKA["broker_quota"])
def test_a_brokers_replication_quota_is_defined_as_in_kafka(name: str) -> None:
    actual = _row(broker_quota_keys[name])
    actual.pop("mode")
    assert actual == KAFKA["broker_quota"][name]


def test_there_are_no_keys_that_kafka_lacks_but_the_named_ones() -> None:
    assert broker_keys.keys() - KAFKA["broker"].keys() == OURS | OF_THE_AUTHORIZER | OF_KAFKA_4
    assert topic_keys.keys() == KAFKA["topic"].keys()
    assert broker_quota_keys.keys() == KAFKA["broker_quota"].keys()


def test_every_default_passes_its_own_rule() -> None:
    for row in (*broker_keys.values(), *broker_quota_keys.values(), *topic_keys.values()):
        if row.default is not None:
            text = format_value(row.default)
            assert text is not None
            assert row.parse(text) == row.default, row.name


def test_every_key_has_one_sentence_of_its_own() -> None:
    for row in (*broker_keys.values(), *broker_quota_keys.values(), *topic_keys.values()):
        assert row.doc.endswith("."), row.name
        assert 15 < len(row.doc) < 130, row.name


def test_topic_synonyms_are_broker_keys() -> None:
    for row in topic_keys.values():
        assert set(row.synonyms) <= broker_keys.keys(), row.name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("log.roll.ms", ("log.roll.ms", "log.roll.hours")),
        ("log.roll.jitter.hours", ("log.roll.jitter.ms", "log.roll.jitter.hours")),
        ("log.retention.minutes", ("log.retention.ms", "log.retention.minutes", "log.retention.hours")),
        ("log.flush.interval.ms", ("log.flush.interval.ms", "log.flush.scheduler.interval.ms")),
        ("log.flush.scheduler.interval.ms", ("log.flush.scheduler.interval.ms",)),
        ("num.partitions", ("num.partitions",)),
        (
            "listener.name.external.ssl.keystore.location",
            ("listener.name.external.ssl.keystore.location", "ssl.keystore.location"),
        ),
        (
            "listener.name.external.scram-sha-256.sasl.jaas.config",
            ("listener.name.external.scram-sha-256.sasl.jaas.config", "sasl.jaas.config"),
        ),
    ],
)
def test_synonyms_of_a_broker_key_strongest_first(name: str, expected: tuple[str, ...]) -> None:
    assert synonyms_of_broker_key(name) == expected


def test_a_listeners_key_is_found_by_its_plain_name() -> None:
    row = find_broker_key("listener.name.internal.plain.sasl.jaas.config")
    assert row is broker_keys["sasl.jaas.config"]
    assert row.sensitive
    assert find_broker_key("listener.name.internal.no.such.key") is None
    assert find_broker_key("no.such.key") is None
