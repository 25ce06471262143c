"""Znodes have Kafka's paths and JSON, so that Kafka's own brokers and tools read them."""

import json

import pytest

from pybroker.metadata.store import Stat
from pybroker.metadata.znodes import (
    PERSISTENT_PATHS,
    BrokerIdZNode,
    ClusterIdZNode,
    ConfigChangeZNode,
    ConfigEntityZNode,
    ConfigType,
    ControllerEpochZNode,
    ControllerZNode,
    DeleteTopicsTopicZNode,
    FeatureRange,
    FeatureZNode,
    IsrChangeNotificationZNode,
    LeaderAndIsr,
    LogDirEventNotificationZNode,
    MalformedZnode,
    PartitionStateZNode,
    PreferredReplicaElectionZNode,
    ProducerIdBlockZNode,
    ReassignPartitionsZNode,
    ReplicaAssignment,
    TopicZNode,
    desanitize,
    new_cluster_id,
    sanitize,
)
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.ids import TopicPartition, parse_topic_id

TP = TopicPartition("my-topic", 3)


def stat(version):
    return Stat(1, 2, 3, 0, 0, version, 0, 0, 0, 0)


def test_paths_every_broker_creates():
    assert set(PERSISTENT_PATHS) == {
        "/consumers",
        "/brokers/ids",
        "/brokers/topics",
        "/brokers/seqid",
        "/config/changes",
        "/config/topics",
        "/config/clients",
        "/config/users",
        "/config/brokers",
        "/config/ips",
        "/admin/delete_topics",
        "/isr_change_notification",
        "/latest_producer_id_block",
        "/log_dir_event_notification",
    }


def test_json_is_compact_and_not_escaped():
    assert ClusterIdZNode("abc").encode() == b'{"version":"1","id":"abc"}'
    assert "ü".encode() in ConfigEntityZNode.encode({"k": "ü"})


def test_broker_version_5():
    node = BrokerIdZNode(
        7,
        (
            Endpoint("TLS", "h1", 9093, SecurityProtocol.SSL),
            Endpoint("PLAINTEXT", "h2", 9092),
            Endpoint("V6", "::1", 9094),
        ),
        rack="r1",
        features={"group.version": FeatureRange(0, 1)},
        timestamp_ms=1234,
    )
    assert BrokerIdZNode.path(7) == "/brokers/ids/7"
    assert json.loads(node.encode()) == {
        "version": 5,
        "host": "h2",
        "port": 9092,
        "endpoints": ["TLS://h1:9093", "PLAINTEXT://h2:9092", "V6://[::1]:9094"],
        "jmx_port": -1,
        "timestamp": "1234",
        "rack": "r1",
        "listener_security_protocol_map": {"TLS": "SSL", "PLAINTEXT": "PLAINTEXT", "V6": "PLAINTEXT"},
        "features": {"group.version": {"min_version": 0, "max_version": 1}},
    }
    assert BrokerIdZNode.decode(7, node.encode()) == node


def test_a_broker_without_plaintext_has_no_host_for_old_clients():
    node = BrokerIdZNode(1, (Endpoint("TLS", "h", 1, SecurityProtocol.SSL),))
    value = json.loads(node.encode())
    assert (value["host"], value["port"], "rack" in value) == (None, -1, False)


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        (
            '{"version":1,"host":"h","port":9092,"jmx_port":9999,"timestamp":"2233345666"}',
            (Endpoint("PLAINTEXT", "h", 9092),),
        ),
        (
            '{"version":2,"host":"h","port":9092,"jmx_port":9999,"timestamp":"1",'
            '"endpoints":["PLAINTEXT://h:9092","SSL://h:9093"]}',
            (Endpoint("PLAINTEXT", "h", 9092), Endpoint("SSL", "h", 9093, SecurityProtocol.SSL)),
        ),
        (
            '{"version":4,"host":null,"port":-1,"jmx_port":-1,"timestamp":"1","endpoints":["C://h:1"],'
            '"listener_security_protocol_map":{"C":"SASL_SSL"},"rack":"dc1"}',
            (Endpoint("C", "h", 1, SecurityProtocol.SASL_SSL),),
        ),
    ],
)
def test_older_broker_versions_are_read(text, endpoints):
    assert BrokerIdZNode.decode(1, text.encode()).endpoints == endpoints


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"version":0}',
        b'{"version":5,"endpoints":["x"],"listener_security_protocol_map":{}}',
        b"\xff",
    ],
)
def test_a_malformed_broker_is_named(text):
    with pytest.raises(MalformedZnode, match="/brokers/ids/1 holds"):
        BrokerIdZNode.decode(1, text)


def test_topic_version_3():
    topic_id = parse_topic_id("3QbXFVzfSQu5iBHOHH1sVQ")
    node = TopicZNode(
        {0: ReplicaAssignment((1, 2)), 1: ReplicaAssignment((3, 1, 2), adding=(3,), removing=(2,))}, topic_id
    )
    assert json.loads(node.encode()) == {
        "version": 3,
        "partitions": {"0": [1, 2], "1": [3, 1, 2]},
        "adding_replicas": {"1": [3]},
        "removing_replicas": {"1": [2]},
        "topic_id": "3QbXFVzfSQu5iBHOHH1sVQ",
    }
    assert TopicZNode.decode("t", node.encode()) == node
    assert node.partitions[1].target == (3, 1)
    assert node.partitions[1].origin == (1, 2)


def test_a_topic_of_an_old_version_has_no_id():
    node = TopicZNode.decode("t", b'{"version":1,"partitions":{"1":[2],"0":[1]}}')
    assert node.topic_id is None
    assert list(node.partitions) == [0, 1]
    assert b"topic_id" not in node.encode()


def test_partition_state_takes_its_epoch_from_the_node():
    node = PartitionStateZNode(LeaderAndIsr(1, 4, (1, 2)), controller_epoch=9)
    assert PartitionStateZNode.path(TP) == "/brokers/topics/my-topic/partitions/3/state"
    assert json.loads(node.encode()) == {
        "version": 1,
        "leader": 1,
        "leader_epoch": 4,
        "controller_epoch": 9,
        "isr": [1, 2],
    }
    assert PartitionStateZNode.decode(TP, node.encode(), stat(6)).state.partition_epoch == 6


def test_the_recovery_state_is_written_only_while_it_matters():
    node = PartitionStateZNode(LeaderAndIsr(1, 4, (1,), recovery_state=1), 2)
    assert json.loads(node.encode())["leader_recovery_state"] == 1
    assert PartitionStateZNode.decode(TP, node.encode(), stat(0)) == node


def test_controller_and_its_epoch():
    node = ControllerZNode(3, 99)
    assert json.loads(node.encode()) == {
        "version": 2,
        "brokerid": 3,
        "timestamp": "99",
        "kraftControllerEpoch": -1,
    }
    assert ControllerZNode.decode(node.encode()) == node
    assert ControllerZNode.decode(b'{"version":1,"brokerid":3,"timestamp":"99"}') == node
    assert ControllerEpochZNode.encode(12) == b"12"
    assert ControllerEpochZNode.decode(b"12") == 12
    with pytest.raises(MalformedZnode):
        ControllerEpochZNode.decode(b"")


def test_configs_and_changes():
    path = ConfigEntityZNode.path(ConfigType.TOPIC, "t")
    assert path == "/config/topics/t"
    data = ConfigEntityZNode.encode({"retention.ms": "1"})
    assert data == b'{"version":1,"config":{"retention.ms":"1"}}'
    assert ConfigEntityZNode.decode(path, data) == {"retention.ms": "1"}
    assert ConfigEntityZNode.decode(path, b"") == {}
    change = ConfigChangeZNode(ConfigType.USER, "alice/clients/app")
    assert change.encode() == b'{"version":2,"entity_path":"users/alice/clients/app"}'
    assert ConfigChangeZNode.decode(change.encode()) == change
    old = b'{"version":1,"entity_type":"topics","entity_name":"t"}'
    assert ConfigChangeZNode.decode(old) == ConfigChangeZNode(ConfigType.TOPIC, "t")
    with pytest.raises(MalformedZnode):
        ConfigChangeZNode.decode(b'{"version":2,"entity_path":"planets/earth"}')


@pytest.mark.parametrize(
    ("name", "text"),
    [("a b", "a%20b"), ("CN=x,O=y", "CN%3Dx%2CO%3Dy"), ("*~/", "%2A%7E%2F"), ("a.b_c-d", "a.b_c-d")],
)
def test_names_in_paths_are_escaped_as_kafka_does(name, text):
    assert sanitize(name) == text
    assert desanitize(text) == name


def test_notes_for_the_controller():
    assert DeleteTopicsTopicZNode.path("t") == "/admin/delete_topics/t"
    isr = IsrChangeNotificationZNode.encode((TP,))
    assert isr == b'{"version":1,"partitions":[{"topic":"my-topic","partition":3}]}'
    assert IsrChangeNotificationZNode.decode(isr) == (TP,)
    assert LogDirEventNotificationZNode.encode(4) == b'{"version":1,"broker":4,"event":1}'
    assert LogDirEventNotificationZNode.decode(b'{"version":1,"broker":4,"event":1}') == 4
    assert PreferredReplicaElectionZNode.decode(PreferredReplicaElectionZNode.encode((TP,))) == (TP,)
    wishes = {TP: (1, 2)}
    data = ReassignPartitionsZNode.encode(wishes)
    assert data == b'{"version":1,"partitions":[{"topic":"my-topic","partition":3,"replicas":[1,2]}]}'
    assert ReassignPartitionsZNode.decode(data) == wishes


def test_producer_id_blocks_are_strings():
    node = ProducerIdBlockZNode(2, 1000, 1999)
    assert json.loads(node.encode()) == {
        "version": 1,
        "broker": 2,
        "block_start": "1000",
        "block_end": "1999",
    }
    assert ProducerIdBlockZNode.decode(node.encode()) == node


def test_features_of_both_versions():
    node = FeatureZNode(1, {"f": 3})
    assert node.encode() == b'{"version":2,"status":1,"features":{"f":3}}'
    assert FeatureZNode.decode(node.encode()) == node
    old = b'{"version":1,"status":1,"features":{"f":{"min_version_level":1,"max_version_level":3}}}'
    assert FeatureZNode.decode(old) == node


def test_a_cluster_id_is_22_characters():
    assert len(new_cluster_id()) == 22
    assert ClusterIdZNode.decode(ClusterIdZNode("x").encode()).cluster_id == "x"
