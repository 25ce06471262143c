"""Clusters of three that are measured side by side, each on a ZooKeeper of its own with the same settings."""

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from kazoo.client import KazooClient

from interop.support.servers import ApacheKafkaServer, PybrokerServer
from interop.support.waiting import wait_until
from interop.support.zookeeper import ZooKeeperServer

KINDS = ("pybroker", "kafka")
BROKER_IDS = (0, 1, 2)
SESSION_TIMEOUT_MS = 6000
SETTINGS = {
    "zookeeper.session.timeout.ms": str(SESSION_TIMEOUT_MS),
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "auto.leader.rebalance.enable": "false",
}
WHOLE_WITHIN_S = 120


class ClusterUnderTest:
    """Brokers 0, 1 and 2 of one kind.

    Args:
        name: one of KINDS.
        settings: properties on top of the usual ones.
        racks: of the brokers, in the order of their ids; none by default.
    """

    def __init__(
        self, name: str, settings: Mapping[str, str] | None = None, racks: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.zookeeper = ZooKeeperServer("tools-3.9")
        self._folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.brokers: dict[int, PybrokerServer | ApacheKafkaServer] = {}
        for broker_id in BROKER_IDS:
            properties = {**SETTINGS, "broker.id": str(broker_id), **(settings or {})}
            if racks:
                properties["broker.rack"] = racks[broker_id]
            if name == "kafka":
                self.brokers[broker_id] = ApacheKafkaServer(properties, zookeeper=self.zookeeper)
            else:
                folder = self._folder / str(broker_id)
                folder.mkdir()
                properties["zookeeper.connect"] = self.zookeeper.address
                self.brokers[broker_id] = PybrokerServer(properties, folder)
        self._watcher = KazooClient(self.zookeeper.address, timeout=10.0)

    def start(self) -> None:
        self.zookeeper.start()
        self._watcher.start(timeout=10)
        for broker in self.brokers.values():
            broker.start()

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        for broker in self.brokers.values():
            broker.stop()
        self.zookeeper.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    def create_topic(self, name: str, partitions: int = 1) -> None:
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, len(BROKER_IDS))])[name].result(60)
        self.wait_until_whole([name])

    def leader(self, topic: str, partition: int = 0) -> int:
        leader: int = self.admin().list_topics(topic, timeout=10).topics[topic].partitions[partition].leader
        return leader

    def gone_at(self, broker_id: int) -> float:
        """Waits until a broker's session has ended; when that was, by the monotonic clock."""
        wait_until(lambda: not self._watcher.exists(f"/brokers/ids/{broker_id}"), "a session's end", 30)
        return time.monotonic()

    def controller(self) -> int:
        """The broker that is the controller now."""
        holder: int = json.loads(self._watcher.get("/controller")[0])["brokerid"]
        return holder

    def controller_epoch(self) -> int:
        """How many elections there have been."""
        return int(self._watcher.get("/controller_epoch")[0])

    def depose_controller(self) -> None:
        """Have another controller elected, as an operator does it."""
        self._watcher.delete("/controller")

    def wait_until_whole(self, topics: list[str]) -> None:
        """Until all replicas of some topics are in sync."""

        def is_whole() -> bool:
            with suppress(KafkaException):
                found = self.admin().list_topics(timeout=5).topics
                return all(
                    topic in found
                    and all(len(one.isrs) == len(BROKER_IDS) for one in found[topic].partitions.values())
                    for topic in topics
                )
            return False

        wait_until(is_whole, f"a whole cluster of {self.name}", WHOLE_WITHIN_S)

    def admin(self) -> AdminClient:
        """A client of its own for each use: none remembers a broker that was killed."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


@contextmanager
def running_clusters(names: Collection[str]) -> Iterator[list[ClusterUnderTest]]:
    """A cluster of each kind that is named, all up at the same time; other names are passed over."""
    with ExitStack() as stack:
        clusters = [ClusterUnderTest(name) for name in KINDS if name in names]
        for cluster in clusters:
            stack.callback(cluster.close)
            cluster.start()
        yield clusters
