"""Configurations are described, replaced and changed step by step, and what is changed takes effect at once.

The sentences and codes were compared with Apache Kafka 3.9.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pybroker.app import Broker
from pybroker.config.layers import ConfigSource
from pybroker.controller.api import ControllerApi
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import (
    AlterConfigsRequest,
    DescribeConfigsRequest,
    IncrementalAlterConfigsRequest,
)
from tests.support.broker import ConnectionEnded, WireClient, connected, running_broker

TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
NOT_FOUND, INVALID_TOPIC, INVALID_CONFIG, INVALID_REQUEST = 3, 17, 40, 42
Step = tuple[int, str, str | None]


async def describe(
    client: WireClient, resource_type: int, name: str, keys: list[str] | None = None, **options: Any
) -> Any:
    version = options.pop("version", 4)
    resource = DescribeConfigsRequest.DescribeConfigsResource(
        resource_type=resource_type, resource_name=name, configuration_keys=keys
    )
    response = await client.ask(DescribeConfigsRequest(resources=[resource], **options), version)
    return response.results[0]


async def values(client: WireClient, resource_type: int, name: str, *keys: str) -> dict[str, str | None]:
    result = await describe(client, resource_type, name, list(keys) or None)
    assert result.error_code == 0, result.error_message
    return {config.name: config.value for config in result.configs}


async def change(
    client: WireClient, resource_type: int, name: str, *steps: Step, validate_only: bool = False
) -> tuple[int, str | None]:
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource(
        resource_type=resource_type,
        resource_name=name,
        configs=[
            IncrementalAlterConfigsRequest.AlterableConfig(name=key, config_operation=operation, value=value)
            for operation, key, value in steps
        ],
    )
    request = IncrementalAlterConfigsRequest(resources=[resource], validate_only=validate_only)
    answer = (await client.ask(request)).responses[0]
    return answer.error_code, answer.error_message


async def replace(
    client: WireClient, resource_type: int, name: str, configs: list[tuple[str, str | None]], **options: Any
) -> tuple[int, str | None]:
    resource = AlterConfigsRequest.AlterConfigsResource(
        resource_type=resource_type,
        resource_name=name,
        configs=[AlterConfigsRequest.AlterableConfig(name=key, value=value) for key, value in configs],
    )
    answer = (await client.ask(AlterConfigsRequest(resources=[resource], **options))).responses[0]
    return answer.error_code, answer.error_message


# -- describing


async def test_a_topic_shows_all_its_keys_with_their_sources(client: WireClient) -> None:
    result = await describe(client, TOPIC, "compacted", include_synonyms=True, include_documentation=True)
    configs = {config.name: config for config in result.configs}
    assert len(configs) == 36
    policy = configs["cleanup.policy"]
    assert (policy.value, policy.config_source, policy.config_type) == (
        "compact",
        ConfigSource.TOPIC_CONFIG,
        7,
    )
    assert [(one.name, one.value, one.source) for one in policy.synonyms] == [
        ("cleanup.policy", "compact", ConfigSource.TOPIC_CONFIG),
        ("log.cleanup.policy", "delete", ConfigSource.DEFAULT_CONFIG),
    ]
    assert policy.documentation
    assert configs["retention.ms"].config_source == ConfigSource.DEFAULT_CONFIG


async def test_nothing_is_sent_that_was_not_asked_for(client: WireClient) -> None:
    result = await describe(client, TOPIC, "orders", ["retention.ms", "no.such.key"])
    assert [(one.name, one.synonyms, one.documentation) for one in result.configs] == [
        ("retention.ms", [], None)
    ]


async def test_an_empty_list_of_keys_asks_for_all(client: WireClient) -> None:
    assert len((await describe(client, TOPIC, "orders", [])).configs) == 36


NOT_DESCRIBED = (
    (TOPIC, "missing", NOT_FOUND, ""),
    (TOPIC, "", INVALID_TOPIC, "Topic name is invalid: the empty string is not allowed"),
    (BROKER, "one", INVALID_REQUEST, "Broker id must be an integer, but it is: one"),
    (BROKER, "7", INVALID_REQUEST, "Unexpected broker id, expected 0 or empty string, but received 7"),
    (LOGGER, "", INVALID_REQUEST, "Broker id must not be empty"),
    (LOGGER, "7", INVALID_REQUEST, "Unexpected broker id, expected 0 but received 7"),
    (METRICS, "", INVALID_REQUEST, "Client metrics subscription name must not be empty"),
    (METRICS, "m", INVALID_REQUEST, "Config type client-metrics is only supported on KRaft clusters"),
)


async def test_what_cannot_be_described(client: WireClient) -> None:
    for resource_type, name, code, sentence in NOT_DESCRIBED:
        result = await describe(client, resource_type, name)
        assert (result.error_code, result.error_message, result.configs) == (code, sentence, [])


@pytest.mark.parametrize("resource_type", [99, 0])
async def test_an_unknown_type_refuses_the_whole_request(client: WireClient, resource_type: int) -> None:
    request = two_resources(resource_type)
    assert [one.error_code for one in (await client.ask(request)).results] == [INVALID_REQUEST] * 2


async def test_a_broker_of_classic_groups_knows_no_configuration_of_groups(tmp_path: Path) -> None:
    settings = {"group.coordinator.rebalance.protocols": "classic"}
    async with running_broker(tmp_path, settings) as broker, connected(broker) as client:
        request = two_resources(GROUP)
        assert [one.error_code for one in (await client.ask(request)).results] == [INVALID_REQUEST] * 2
        refused = (INVALID_REQUEST, "Unknown resource type 32")
        assert await change(client, GROUP, "g", (SET, "consumer.session.timeout.ms", "50000")) == refused


def two_resources(resource_type: int) -> DescribeConfigsRequest:
    kind = DescribeConfigsRequest.DescribeConfigsResource
    return DescribeConfigsRequest(
        resources=[
            kind(resource_type=TOPIC, resource_name="orders", configuration_keys=None),
            kind(resource_type=resource_type, resource_name="g", configuration_keys=None),
        ]
    )


async def test_how_often_a_group_is_assigned_is_shown_where_it_was_set(client: WireClient) -> None:
    """Kafka 3.9 does not know it; that of 4.3 does."""
    name = "consumer.assignment.interval.ms"
    assert name not in await values(client, GROUP, "g")
    assert await change(client, GROUP, "g", (SET, name, "1000")) == (0, None)
    assert (await values(client, GROUP, "g"))[name] == "1000"


async def test_a_group_takes_time_outs_of_its_own(client: WireClient) -> None:
    """It need not exist, and its name may hold anything; what it does not set is the broker's."""
    group = "a/b %"
    assert await values(client, GROUP, group) == {
        "consumer.heartbeat.interval.ms": "5000",
        "consumer.session.timeout.ms": "45000",
    }
    assert await change(client, GROUP, group, (SET, "consumer.session.timeout.ms", "50000")) == (0, None)
    result = await describe(client, GROUP, group, ["consumer.session.timeout.ms"], include_synonyms=True)
    (config,) = result.configs
    assert [(one.name, one.value, one.source) for one in config.synonyms] == [
        ("consumer.session.timeout.ms", "50000", ConfigSource.GROUP_CONFIG),
        ("group.consumer.session.timeout.ms", "45000", ConfigSource.DEFAULT_CONFIG),
    ]
    assert await change(client, GROUP, group, (DELETE, "consumer.session.timeout.ms", None)) == (0, None)
    assert (await values(client, GROUP, group))["consumer.session.timeout.ms"] == "45000"


async def test_a_broker_hides_secrets_and_internal_keys(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path, {"ssl.keystore.password": "secret"}) as broker,
        connected(broker) as client,
    ):
        result = await describe(client, BROKER, "0", include_synonyms=True)
        configs = {config.name: config for config in result.configs}
        password = configs["ssl.keystore.password"]
        assert (password.value, password.is_sensitive) == (None, True)
        assert {synonym.value for synonym in password.synonyms} == {None}
        assert configs["broker.id"].read_only
        assert not configs["log.retention.ms"].read_only
        assert "unstable.api.versions.enable" not in configs


async def test_version_0_has_no_source(client: WireClient) -> None:
    result = await describe(client, TOPIC, "orders", ["retention.ms"], version=0)
    assert (result.configs[0].value, result.configs[0].is_default) == ("604800000", False)


# -- topics


async def test_a_changed_topic_is_obeyed_by_its_logs_at_once(broker: Broker, client: WireClient) -> None:
    done = await change(client, TOPIC, "orders", (SET, "segment.bytes", "2000"), (SET, "retention.ms", "5"))
    assert done == (0, None)
    partition = broker.replicas.find(TopicPartition("orders", 1))
    assert partition is not None
    assert (partition.log.config.segment_bytes, partition.settings.topic.retention_ms) == (2000, 5)
    assert await change(client, TOPIC, "orders", (DELETE, "retention.ms", None)) == (0, None)
    assert partition.settings.topic.retention_ms == 604800000
    assert await values(client, TOPIC, "orders", "segment.bytes") == {"segment.bytes": "2000"}


async def test_lists_grow_and_shrink(client: WireClient) -> None:
    assert await change(client, TOPIC, "orders", (APPEND, "cleanup.policy", "compact")) == (0, None)
    assert await values(client, TOPIC, "orders", "cleanup.policy") == {"cleanup.policy": "delete,compact"}
    assert await change(client, TOPIC, "orders", (SUBTRACT, "cleanup.policy", "delete")) == (0, None)
    assert await values(client, TOPIC, "orders", "cleanup.policy") == {"cleanup.policy": "compact"}


async def test_alter_configs_replaces_everything(client: WireClient) -> None:
    await change(client, TOPIC, "orders", (SET, "segment.bytes", "2000"))
    assert await replace(client, TOPIC, "orders", [("retention.ms", "5")]) == (0, None)
    found = await values(client, TOPIC, "orders", "segment.bytes", "retention.ms")
    assert found == {"segment.bytes": "1073741824", "retention.ms": "5"}


async def test_validate_only_changes_nothing(client: WireClient) -> None:
    steps = (SET, "retention.ms", "5")
    assert await change(client, TOPIC, "orders", steps, validate_only=True) == (0, None)
    assert await replace(client, TOPIC, "orders", [("retention.ms", "5")], validate_only=True) == (0, None)
    assert await values(client, TOPIC, "orders", "retention.ms") == {"retention.ms": "604800000"}


PREFIX = "Invalid config value for resource ConfigResource(type=TOPIC, name='orders'): "


REFUSED = (
    (TOPIC, "orders", (SET, "no.such", "1"), INVALID_CONFIG, "Unknown topic config name: no.such"),
    (
        TOPIC,
        "orders",
        (SET, "retention.ms", "x"),
        INVALID_CONFIG,
        PREFIX + "Invalid value x for configuration retention.ms: Not a number of type LONG",
    ),
    (
        TOPIC,
        "orders",
        (SET, "remote.storage.enable", "true"),
        INVALID_CONFIG,
        PREFIX + "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with "
        "remote log storage.",
    ),
    (
        TOPIC,
        "orders",
        (APPEND, "retention.ms", "1"),
        INVALID_CONFIG,
        "Config value append is not allowed for config key: retention.ms",
    ),
    (
        TOPIC,
        "orders",
        (SET, "retention.ms", None),
        INVALID_REQUEST,
        "Null value not supported for : retention.ms",
    ),
    (TOPIC, "orders", (9, "retention.ms", "1"), INVALID_REQUEST, "Unknown operations type 9"),
    (TOPIC, "missing", (SET, "retention.ms", "1"), NOT_FOUND, "The topic 'missing' does not exist."),
    (TOPIC, "a/b", (SET, "retention.ms", "1"), NOT_FOUND, "The topic 'a/b' does not exist."),
    (TOPIC, "", (SET, "retention.ms", "1"), INVALID_REQUEST, "Default topic resources are not allowed."),
    (
        BROKER,
        "0",
        (SET, "broker.rack", "r"),
        INVALID_REQUEST,
        "Cannot update these configs dynamically: Set(broker.rack)",
    ),
    (
        BROKER,
        "0",
        (SET, "message.max.bytes", "-1"),
        INVALID_REQUEST,
        "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
    ),
    (
        BROKER,
        "0",
        (SET, "listener.name.plaintext.ssl.keystore.password", "p"),
        INVALID_CONFIG,
        "Invalid config value for resource ConfigResource(type=BROKER, name='0'): "
        "Password encoder secret not configured",
    ),
    (BROKER, "7", (SET, "a", "b"), INVALID_REQUEST, "Unexpected broker id, expected 0, but received 7"),
    (BROKER, "x", (SET, "a", "b"), INVALID_REQUEST, "Node id must be an integer, but it is: x"),
    (
        LOGGER,
        "7",
        (SET, "root", "INFO"),
        INVALID_REQUEST,
        "Unexpected node id. Expected 0, but received 0",
    ),
    (LOGGER, "0", (SET, "nobody", "INFO"), INVALID_CONFIG, "Logger nobody does not exist!"),
    (
        LOGGER,
        "0",
        (APPEND, "root", "INFO"),
        INVALID_REQUEST,
        "APPEND operation is not allowed for the BROKER_LOGGER resource",
    ),
    (
        LOGGER,
        "0",
        (DELETE, "root", None),
        INVALID_REQUEST,
        "Removing the log level of the root logger is not allowed",
    ),
    (
        LOGGER,
        "0",
        (SET, "root", "LOUD"),
        INVALID_CONFIG,
        "Cannot set the log level of root to LOUD as it is not a supported log level. Valid log levels "
        "are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
    ),
    (
        METRICS,
        "m",
        (SET, "a", "b"),
        INVALID_REQUEST,
        "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS",
    ),
    (GROUP, "g", (SET, "a", "b"), INVALID_CONFIG, "Unknown group config name: a"),
    (GROUP, "", (SET, "a", "b"), INVALID_REQUEST, "Default group resources are not allowed."),
    (
        GROUP,
        "g",
        (SET, "consumer.session.timeout.ms", "1000"),
        INVALID_CONFIG,
        "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
    ),
    (
        GROUP,
        "g",
        (SET, "consumer.heartbeat.interval.ms", "15001"),
        INVALID_CONFIG,
        "consumer.heartbeat.interval.ms must be less than or equal to "
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        GROUP,
        "g",
        (SET, "consumer.assignment.interval.ms", "15001"),
        INVALID_CONFIG,
        "consumer.assignment.interval.ms must be less than or equal to "
        "group.consumer.max.assignment.interval.ms",
    ),
)


async def test_refused_in_kafkas_words(client: WireClient) -> None:
    for resource_type, name, step, code, sentence in REFUSED:
        assert await change(client, resource_type, name, step) == (code, sentence)


async def test_a_key_or_a_resource_named_twice_is_refused(client: WireClient) -> None:
    twice = ((SET, "retention.ms", "1"), (DELETE, "retention.ms", None))
    refused = (INVALID_REQUEST, "Error due to duplicate config keys")
    assert await change(client, TOPIC, "orders", *twice) == refused
    assert await replace(client, TOPIC, "orders", [("retention.ms", "1"), ("retention.ms", "2")]) == refused
    one = AlterConfigsRequest.AlterConfigsResource(resource_type=TOPIC, resource_name="orders", configs=[])
    response = await client.ask(AlterConfigsRequest(resources=[one, one]))
    assert {(answer.error_code, answer.error_message) for answer in response.responses} == {
        (INVALID_REQUEST, "Each resource must appear at most once.")
    }


async def test_one_refused_resource_does_not_hold_the_others_back(client: WireClient) -> None:
    resource = AlterConfigsRequest.AlterConfigsResource
    config = AlterConfigsRequest.AlterableConfig(name="retention.ms", value="5")
    request = AlterConfigsRequest(
        resources=[
            resource(resource_type=TOPIC, resource_name=name, configs=[config])
            for name in ("missing", "orders")
        ]
    )
    response = await client.ask(request)
    assert [answer.error_code for answer in response.responses] == [NOT_FOUND, 0]
    assert await values(client, TOPIC, "orders", "retention.ms") == {"retention.ms": "5"}


# -- brokers


async def test_the_defaults_of_all_brokers_reach_every_topic(broker: Broker, client: WireClient) -> None:
    assert await change(client, BROKER, "", (SET, "log.retention.ms", "777")) == (0, None)
    assert await values(client, BROKER, "") == {"log.retention.ms": "777"}
    result = await describe(client, TOPIC, "orders", ["retention.ms"], include_synonyms=True)
    assert [(one.name, one.value, one.source) for one in result.configs[0].synonyms] == [
        ("log.retention.ms", "777", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG),
        ("log.retention.hours", "168", ConfigSource.DEFAULT_CONFIG),
    ]
    await trio.testing.wait_all_tasks_blocked()
    partition = broker.replicas.find(TopicPartition("orders", 0))
    assert partition is not None
    assert partition.log.config.retention_ms == 777


async def test_a_brokers_own_value_wins_over_the_default(broker: Broker, client: WireClient) -> None:
    await change(client, BROKER, "", (SET, "message.max.bytes", "1000"))
    await change(client, BROKER, "0", (SET, "message.max.bytes", "2000"))
    assert broker.config.message_max_bytes == 2000
    await change(client, BROKER, "0", (DELETE, "message.max.bytes", None))
    assert broker.config.message_max_bytes == 1000
    assert await values(client, TOPIC, "orders", "max.message.bytes") == {"max.message.bytes": "1000"}


async def test_allowing_unclean_elections_sets_the_waiting_ones_off(
    client: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    async def elect(_self: ControllerApi, topic: str | None = None) -> None:
        asked.append(topic)

    monkeypatch.setattr(ControllerApi, "elect_where_missing", elect)
    await change(client, TOPIC, "orders", (SET, "unclean.leader.election.enable", "true"))
    await change(client, BROKER, "", (SET, "unclean.leader.election.enable", "true"))
    await trio.testing.wait_all_tasks_blocked()
    assert set(asked) == {"orders", None}


async def test_connections_are_limited_from_now_on(broker: Broker, client: WireClient) -> None:
    assert await change(client, BROKER, "0", (SET, "max.connections.per.ip", "1")) == (0, None)
    with pytest.raises(ConnectionEnded):
        async with connected(broker) as second:
            await describe(second, TOPIC, "orders")
    assert await change(client, BROKER, "0", (DELETE, "max.connections.per.ip", None)) == (0, None)
    async with connected(broker) as second:
        assert (await describe(second, TOPIC, "orders")).error_code == 0


async def test_what_was_changed_survives_a_restart(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        await change(client, BROKER, "", (SET, "log.retention.ms", "777"))
        await change(client, BROKER, "0", (SET, "max.connections", "55"))
    async with running_broker(tmp_path) as broker, connected(broker) as client:
        assert (broker.config.get("log.retention.ms"), broker.config.max_connections) == (777, 55)
        assert await values(client, BROKER, "0", "max.connections") == {"max.connections": "55"}


# -- loggers


@pytest.fixture
def quiet_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("pybroker.controller.topics")
    yield logger
    logger.setLevel(logging.NOTSET)


async def test_levels_of_loggers_are_shown_and_set(client: WireClient, quiet_logger: logging.Logger) -> None:
    name = quiet_logger.name
    assert await change(client, LOGGER, "0", (SET, name, "ERROR")) == (0, None)
    assert quiet_logger.level == logging.ERROR
    assert await values(client, LOGGER, "0", name) == {name: "ERROR"}
    assert await change(client, LOGGER, "0", (DELETE, name, None)) == (0, None)
    assert quiet_logger.level == logging.NOTSET
    assert await change(client, LOGGER, "0", (SET, name, "DEBUG"), validate_only=True) == (0, None)
    assert quiet_logger.level == logging.NOTSET
