"""Brokers that answer as other Kafkas, as other people's clients see them."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient

from pybroker.config.values import InvalidValue
from pybroker.model.errors import StartupError
from pybroker.testing import KafkaCluster

Clusters = Callable[..., KafkaCluster]


def versions(cluster: KafkaCluster) -> dict[str, tuple[int, int]]:
    """What kafka-python is told of the APIs."""
    admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    found = {api.name: tuple(versions) for api, versions in admin.api_versions().items()}
    admin.close()
    return found


@pytest.mark.parametrize(
    ("persona", "seen"),
    [
        ("0.11", {"Produce": (0, 3), "Fetch": (0, 5), "Metadata": (0, 4), "DeleteGroups": None}),
        ("1.1", {"Produce": (0, 5), "Fetch": (0, 7), "ApiVersions": (0, 1), "ElectLeaders": None}),
        ("2.8", {"Produce": (0, 9), "Fetch": (0, 12), "FindCoordinator": (0, 3), "ListTransactions": None}),
        ("3.9", {"Produce": (0, 11), "Fetch": (0, 17), "LeaderAndIsr": (0, 7)}),
        ("4.1", {"Produce": (3, 13), "Fetch": (4, 18), "ListOffsets": (1, 10), "LeaderAndIsr": None}),
    ],
)
def test_clients_see_the_versions_of_that_kafka_and_work(
    kafka_cluster: Clusters, persona: str, seen: dict[str, tuple[int, int] | None]
) -> None:
    cluster = kafka_cluster(persona=persona)
    cluster.create_topic("t")
    told = {name.replace("_", ""): found for name, found in versions(cluster).items()}
    assert {name: told.get(name) for name in seen} == seen
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    producer.produce("t", b"x")
    assert producer.flush(10) == 0
    last = seen["Produce"]
    assert last is not None
    (sent,) = cluster.journal(api="Produce")
    assert sent["version"] <= last[1]


def test_features_are_told_where_that_kafka_has_them(kafka_cluster: Clusters) -> None:
    for persona, names in (("3.9", set()), ("4.1", {"group.version", "transaction.version"})):
        cluster = kafka_cluster(persona=persona)
        admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
        assert {name for name, level in admin.describe_features().items() if level.get("finalized")} == names
        admin.close()


def test_brokers_of_an_old_persona_still_replicate(kafka_cluster: Clusters) -> None:
    cluster = kafka_cluster(brokers=3, persona="0.11")
    cluster.create_topic("t", replication_factor=3, configs={"min.insync.replicas": "3"})
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all"})
    producer.produce("t", b"x")
    assert producer.flush(10) == 0
    assert cluster.wait_for_records("t", 1) == 1


def test_single_versions_can_be_lowered(kafka_cluster: Clusters) -> None:
    cluster = kafka_cluster(properties={"pybroker.api.versions": "Produce=7,fetch=11"})
    found = versions(cluster)
    assert (found["Produce"], found["Fetch"]) == ((0, 7), (0, 11))
    assert found["Metadata"] == (0, 13)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"pybroker.persona": "2.7"}, r"2\.7 .*pybroker\.persona: .*0\.11, 1\.1, 2\.8, 3\.9, 4\.1"),
        ({"pybroker.api.versions": "Prodce=1"}, r"no API 'Prodce' \(did you mean Produce or "),
        ({"pybroker.api.versions": "Produce=99"}, r"Produce=99: .* of Produce must be a number from 0 to"),
        ({"pybroker.api.versions": "Produce"}, r"Produce: the last version of Produce must be a number"),
    ],
)
def test_what_is_not_there_is_refused(properties: dict[str, str], words: str) -> None:
    with pytest.raises((StartupError, InvalidValue), match=words) as refused:
        KafkaCluster(properties=properties)
    assert "\n" not in str(refused.value)
