"""Three brokers as processes on a real ZooKeeper, with links between them that can be cut."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError

from interop.support.links import Links
from interop.support.process import LOCALHOST, free_port
from interop.support.servers import PybrokerServer
from interop.support.waiting import wait_until
from interop.support.zookeeper import ZooKeeperServer
from pybroker.model.ids import Offset, TopicPartition
from pybroker.records.header import iter_batch_headers

BROKER_IDS = (0, 1, 2)
SESSION_TIMEOUT_MS = 6000
HEALTHY_WITHIN_S = 90.0


class BrokerCluster:
    """Brokers 0, 1 and 2. Each has a listener for clients, and one for brokers behind a proxy.

    Args:
        overrides: properties of all brokers on top of the usual ones.
    """

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="interop-cluster-"))
        self.zookeeper = ZooKeeperServer()
        inner = {broker_id: free_port() for broker_id in BROKER_IDS}
        self.links = Links(inner)
        self.brokers: dict[int, PybrokerServer] = {}
        for broker_id, inner_port in inner.items():
            folder = self.folder / str(broker_id)
            folder.mkdir()
            port = free_port()
            settings = {**self._settings(broker_id, port, inner_port), **(overrides or {})}
            self.brokers[broker_id] = PybrokerServer(settings, folder, port)

    def _settings(self, broker_id: int, client_port: int, inner_port: int) -> dict[str, str]:
        proxy_port = self.links.ports[broker_id]
        return {
            "broker.id": str(broker_id),
            "listeners": f"CLIENT://{LOCALHOST}:{client_port},BROKER://{LOCALHOST}:{inner_port}",
            "advertised.listeners": f"CLIENT://{LOCALHOST}:{client_port},BROKER://{LOCALHOST}:{proxy_port}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "zookeeper.connect": self.zookeeper.address,
            "zookeeper.session.timeout.ms": str(SESSION_TIMEOUT_MS),
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "offsets.topic.num.partitions": "6",
            "group.initial.rebalance.delay.ms": "0",
            "replica.lag.time.max.ms": "10000",
            "replica.socket.timeout.ms": "5000",
            "controller.socket.timeout.ms": "5000",
            "log.cleaner.enable": "false",
        }

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    def start(self) -> None:
        self.zookeeper.start()
        self.links.start()
        for broker in self.brokers.values():
            broker.start()

    def stop(self) -> None:
        for broker_id, broker in self.brokers.items():
            if broker.is_running:
                self.resume(broker_id)
        for broker in self.brokers.values():
            broker.stop()
        self.links.stop()
        self.zookeeper.stop()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- trouble ---------------------------------------------------------------------------------------

    def kill(self, broker_id: int) -> None:
        """kill -9. Start it again once it :meth:`is_forgotten`, as Kafka has to be."""
        self.brokers[broker_id].kill9()

    def pause(self, broker_id: int) -> None:
        """SIGSTOP."""
        os.kill(self._pid(broker_id), signal.SIGSTOP)

    def resume(self, broker_id: int) -> None:
        """SIGCONT."""
        os.kill(self._pid(broker_id), signal.SIGCONT)

    def _pid(self, broker_id: int) -> int:
        pid = self.brokers[broker_id].pid
        assert pid is not None
        return pid

    # -- what it looks like ----------------------------------------------------------------------------

    def registered(self) -> set[int]:
        """The brokers that have a session."""
        return {int(name) for name in self.zookeeper.children("/brokers/ids") or ()}

    def controller_id(self) -> int:
        """Who holds the office, -1 when nobody does."""
        client = KazooClient(self.zookeeper.address, timeout=5.0)
        try:
            client.start(timeout=10)
            return int(json.loads(client.get("/controller")[0])["brokerid"])
        except (NoNodeError, KazooException):
            return -1
        finally:
            client.stop()
            client.close()

    def leaders(self, topic: str) -> dict[int, int]:
        """The leader of each partition, as some broker knows it."""
        found = AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(topic, timeout=10)
        return {index: partition.leader for index, partition in found.topics[topic].partitions.items()}

    def wait_until_whole(self, topics: Sequence[str]) -> float:
        """Until every broker is there and every replica in sync, as every broker tells it. Returns how long
        that took, in seconds."""
        started = time.monotonic()
        wait_until(lambda: self._is_whole(topics), "a whole cluster", HEALTHY_WITHIN_S)
        return time.monotonic() - started

    def _is_whole(self, topics: Sequence[str]) -> bool:
        if self.registered() != set(BROKER_IDS):
            return False
        return all(sees_all_in_sync(broker.bootstrap, topics) for broker in self.brokers.values())

    # -- what is on the disks --------------------------------------------------------------------------

    def replicas(self, topic: str) -> dict[TopicPartition, dict[int, list[tuple[Offset, bytes]]]]:
        """:func:`replicas_on_disk` of these brokers, which must have been stopped."""
        return replicas_on_disk({one: self.folder / str(one) / "data" for one in BROKER_IDS}, topic)


def sees_all_in_sync(bootstrap: str, topics: Sequence[str]) -> bool:
    """Whether a broker answers, and tells that every partition has a leader and all its replicas in sync."""
    with suppress(KafkaException):
        found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=5)
        return all(
            topic in found.topics
            and all(
                len(partition.isrs) == len(BROKER_IDS) and partition.leader >= 0
                for partition in found.topics[topic].partitions.values()
            )
            for topic in topics
        )
    return False


def replicas_on_disk(
    folders: Mapping[int, Path], topic: str
) -> dict[TopicPartition, dict[int, list[tuple[Offset, bytes]]]]:
    """The batches of every replica in the brokers' log directories, from the highest of the log start offsets
    on."""
    found: dict[TopicPartition, dict[int, list[tuple[Offset, bytes]]]] = {}
    for broker_id, folder in folders.items():
        for directory in sorted(folder.glob(f"{topic}-*")):
            tp = TopicPartition(topic, int(directory.name.rpartition("-")[2]))
            found.setdefault(tp, {})[broker_id] = batches_in(directory)
    for by_broker in found.values():
        start = max(batches[0][0] if batches else 0 for batches in by_broker.values())
        for broker_id, batches in by_broker.items():
            by_broker[broker_id] = [batch for batch in batches if batch[0] >= start]
    return found


def batches_in(directory: Path) -> list[tuple[Offset, bytes]]:
    """The batches of one replica, from its files."""
    found: list[tuple[Offset, bytes]] = []
    for segment in sorted(directory.glob("*.log")):
        data = memoryview(segment.read_bytes())
        for position, header in iter_batch_headers(data):
            found.append((header.base_offset, bytes(data[position : position + header.size_in_bytes])))
    return found
