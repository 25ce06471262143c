"""Apache Kafka 3.9 and pybroker do the same on two chroots of one ZooKeeper, and leave the same nodes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kazoo.security import make_digest_acl_credential

from interop.support.servers import ApacheKafkaServer, PybrokerServer, Server
from interop.support.tool_runner import KafkaTools
from interop.support.waiting import wait_until
from interop.support.zookeeper import ZooKeeperServer
from interop.zookeeper.trees import differences, read_tree

TIMEOUT_S = 20
SETTINGS = {
    "broker.id": "-1",
    "broker.rack": "r1",
    "reserved.broker.max.id": "2000",
    "offsets.topic.num.partitions": "2",
    "offsets.topic.replication.factor": "1",
    "num.partitions": "1",
}
BROKER_ID = 2001
"""The first one that is given out above the reserved ones."""

OURS, THEIRS = "/pybroker", "/apache"
USER, PASSWORD = "kafka", "kafka-secret"
SUPERUSER = ("super", "super-secret")
READ, ALL = 1, 31


class Pair:
    """One cluster of each kind in the same ZooKeeper."""

    def __init__(
        self,
        zookeeper: ZooKeeperServer,
        settings: Mapping[str, str],
        *,
        ours: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.zookeeper = zookeeper
        connect = f"{zookeeper.address}{OURS}"
        self.pybroker = PybrokerServer({**settings, **(ours or {}), "zookeeper.connect": connect})
        self.apache = ApacheKafkaServer(settings, zookeeper=zookeeper, chroot=THEIRS, options=options)

    @property
    def both(self) -> tuple[Server, Server]:
        return self.pybroker, self.apache

    def assert_same(self, when: str, auth: tuple[str, str] | None = None) -> None:
        """What controllers do after they have answered may take a moment."""
        found: list[str] = []

        def are_same() -> bool:
            trees = [read_tree(self.zookeeper, chroot, auth) for chroot in (OURS, THEIRS)]
            found[:] = differences(*trees)
            return not found

        try:
            wait_until(are_same, f"the same nodes: {when}", TIMEOUT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(found)) from None

    def stop(self) -> None:
        self.pybroker.stop()
        self.apache.stop()


@pytest.fixture
def zookeeper() -> Iterator[ZooKeeperServer]:
    server = ZooKeeperServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def pair(zookeeper: ZooKeeperServer) -> Iterator[Pair]:
    pair = Pair(zookeeper, SETTINGS)
    try:
        yield pair
    finally:
        pair.stop()


def test_both_leave_the_same_nodes(pair: Pair) -> None:
    for server in pair.both:
        server.start()
    pair.assert_same("started")
    for server in pair.both:
        create_topics(server)
    pair.assert_same("topics")
    for server in pair.both:
        change_configs(server)
    pair.assert_same("configurations")
    for server in pair.both:
        use(server)
    pair.assert_same("records and groups")
    for server in pair.both:
        delete(server)
    pair.assert_same("deleted")
    pair.pybroker.stop_process()
    pair.apache.stop_process()
    pair.assert_same("stopped")
    for server in pair.both:
        server.start()
        wait_until(lambda server=server: _is_led(server, "plain", 5), "leaders after the restart", TIMEOUT_S)
    pair.assert_same("started again")


def create_topics(server: Server) -> None:
    """Topics of all kinds: plain, configured, with assigned replicas, and grown."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    created = admin.create_topics(
        [
            NewTopic("plain", 3, 1),
            NewTopic("conf.d_", 1, 1, config={"retention.ms": "1000", "cleanup.policy": "compact"}),
            NewTopic("assigned", 2, -1, replica_assignment=[[BROKER_ID], [BROKER_ID]]),
            NewTopic("doomed", 2, 1, config={"retention.ms": "5"}),
        ]
    )
    for future in created.values():
        future.result(TIMEOUT_S)
    for future in admin.create_partitions([NewPartitions("plain", 5)]).values():
        future.result(TIMEOUT_S)
    wait_until(lambda: _is_led(server, "plain", 5), "leaders of the new partitions", TIMEOUT_S)


def change_configs(server: Server) -> None:
    """Configurations of a topic, of this broker and of all, set and taken back, by Kafka's own tool."""
    entities = {
        "topic": ["--entity-type", "topics", "--entity-name", "plain"],
        "other": ["--entity-type", "topics", "--entity-name", "conf.d_"],
        "broker": ["--entity-type", "brokers", "--entity-name", str(BROKER_ID)],
        "all": ["--entity-type", "brokers", "--entity-default"],
    }
    changes = [
        ("topic", "--add-config", "segment.bytes=1000000,min.insync.replicas=1"),
        ("other", "--delete-config", "retention.ms"),
        ("broker", "--add-config", "log.cleaner.threads=2"),
        ("broker", "--delete-config", "log.cleaner.threads"),
        ("all", "--add-config", "log.retention.ms=1000000"),
    ]
    tools = KafkaTools(server.bootstrap, "tools-3.9")
    try:
        for entity, option, values in changes:
            if option == "--delete-config":
                _wait_for_config(tools, entities[entity], values)
            tools.check("kafka-configs", "--alter", *entities[entity], option, values)
    finally:
        tools.close()


def _wait_for_config(tools: KafkaTools, entity: list[str], key: str) -> None:
    """The tool takes back only what the broker tells, which hears of a change by its notification."""

    def is_told() -> bool:
        return f"{key}=" in tools.check("kafka-configs", "--describe", *entity).output

    wait_until(is_told, f"{key} in the description", TIMEOUT_S)


def use(server: Server) -> None:
    """An idempotent producer (a block of ids), a topic that makes itself, and a group's offsets."""
    producer = Producer({"bootstrap.servers": server.bootstrap, "enable.idempotence": True})
    for number in range(10):
        producer.produce("plain", str(number))
    producer.produce("made", b"by itself")
    assert producer.flush(TIMEOUT_S) == 0
    consumer = Consumer(
        {"bootstrap.servers": server.bootstrap, "group.id": "readers", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["plain"])
    found = 0

    def has_all() -> bool:
        nonlocal found
        found += sum(message.error() is None for message in consumer.consume(10, 1.0))
        return found == 10

    wait_until(has_all, "ten records", TIMEOUT_S)
    consumer.commit(asynchronous=False)
    consumer.close()


def delete(server: Server) -> None:
    """A topic goes with its configuration."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    for future in admin.delete_topics(["doomed"]).values():
        future.result(TIMEOUT_S)
    wait_until(lambda: "doomed" not in admin.list_topics(timeout=TIMEOUT_S).topics, "deletion", TIMEOUT_S)


def _is_led(server: Server, topic: str, partitions: int) -> bool:
    found = AdminClient({"bootstrap.servers": server.bootstrap}).list_topics(timeout=TIMEOUT_S).topics
    return (
        topic in found
        and len(found[topic].partitions) == partitions
        and all(partition.leader == BROKER_ID for partition in found[topic].partitions.values())
    )


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Pair]:
    """Both with `zookeeper.set.acl`, and logged in by SASL."""
    server_login, client_login = tmp_path / "server.jaas", tmp_path / "client.jaas"
    module = "org.apache.zookeeper.server.auth.DigestLoginModule required"
    server_login.write_text(f'Server {{ {module} user_{USER}="{PASSWORD}"; }};\n')
    client_login.write_text(f'Client {{ {module} username="{USER}" password="{PASSWORD}"; }};\n')
    zookeeper = ZooKeeperServer(
        settings={"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"},
        options={
            "java.security.auth.login.config": str(server_login),
            "zookeeper.DigestAuthenticationProvider.superDigest": make_digest_acl_credential(*SUPERUSER),
        },
    )
    pair = Pair(
        zookeeper,
        {**SETTINGS, "zookeeper.set.acl": "true"},
        ours={"pybroker.zookeeper.auth": f"sasl:{USER}:{PASSWORD}"},
        options={"java.security.auth.login.config": str(client_login)},
    )
    try:
        zookeeper.start()
        yield pair
    finally:
        pair.stop()
        zookeeper.stop()


@pytest.mark.whole
def test_both_give_the_same_rights(guarded: Pair) -> None:
    superuser = ("digest", ":".join(SUPERUSER))
    for server in guarded.both:
        server.start()
        create_topics(server)
        change_configs(server)
    guarded.assert_same("guarded nodes", superuser)
    tree = read_tree(guarded.zookeeper, OURS, superuser)
    ours = (ALL, "sasl", USER)
    assert tree["/config/users"].acl == (ours,)
    assert tree["/brokers/topics/plain"].acl == ((READ, "world", "anyone"), ours)
    assert tree["/consumers"].acl == ((ALL, "world", "anyone"),)
