"""The servers under test, behind one interface: a pybroker of this checkout, and Apache Kafka 3.9."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from interop.support.kraft import ApacheKafka4Server
from interop.support.process import LOCALHOST, ChildProcess, ProcessServer, free_port, knows_controller
from interop.support.waiting import wait_until
from interop.support.zookeeper import ZooKeeperServer, java_process

CHECKOUT = Path(__file__).resolve().parent.parent.parent

SERVER_PYTHON = "INTEROP_SERVER_PYTHON"
"""Environment variable: the interpreter that has pybroker, when the clients run in another one."""


class Server(Protocol):
    """A single broker on 127.0.0.1 that can be killed and comes back on the same port with its data."""

    name: str

    @property
    def bootstrap(self) -> str:
        """`host:port` of the client listener."""
        ...

    @property
    def is_running(self) -> bool: ...

    def start(self) -> None:
        """Start and wait until requests are answered; raises AssertionError with the log's end."""
        ...

    def kill9(self) -> None: ...

    def restart(self) -> None:
        """Start again after kill9 or stop, same port, same data."""
        ...

    def stop(self) -> None: ...

    def log_tail(self, lines: int = 30) -> str: ...


class PybrokerServer(ProcessServer):
    """`python -m pybroker serve` of this checkout, with its own data directory."""

    name = "pybroker"
    START_TIMEOUT_S = 30.0

    def __init__(
        self,
        overrides: Mapping[str, str] | None = None,
        folder: Path | None = None,
        port: int | None = None,
    ) -> None:
        self._owns_folder = folder is None
        folder = folder or Path(tempfile.mkdtemp(prefix="interop-pybroker-"))
        port = port or free_port()
        settings = {
            "listeners": f"PLAINTEXT://{LOCALHOST}:{port}",
            "advertised.listeners": f"PLAINTEXT://{LOCALHOST}:{port}",
            "log.dirs": str(folder / "data"),
            **(overrides or {}),
        }
        python = os.environ.get(SERVER_PYTHON, sys.executable)
        command = [python, "-m", "pybroker", "serve"]
        for key, value in settings.items():
            command += ["--override", f"{key}={value}"]
        # Run from the data folder: the package is found by its installation or PYTHONPATH, not by luck.
        search_path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        process = ChildProcess(command, folder / "server.log", {"PYTHONPATH": search_path})
        super().__init__(process, folder, port)

    def start(self) -> None:
        self._process.start()
        self._process.wait_for_broker(self.port, self.START_TIMEOUT_S)

    def restart(self) -> None:
        self.start()

    def stop(self) -> None:
        self._process.stop()
        if self._owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


_KAFKA = "tools-3.9"
"""The class path that has Kafka 3.9 and the ZooKeeper that it comes with."""


class ApacheKafkaServer(ProcessServer):
    """Apache Kafka 3.9 in ZooKeeper mode, by default with a ZooKeeper of its own, both with a small heap.

    Args:
        overrides: properties on top of the usual ones.
        zookeeper: a server that somebody else starts and stops.
        chroot: where in its tree the cluster is; empty, or beginning with a slash.
        options: system properties of the broker's JVM.
    """

    name = "apache"
    ZOOKEEPER_SESSION_MS = 3000
    START_TIMEOUT_S = 90.0

    def __init__(
        self,
        overrides: Mapping[str, str] | None = None,
        *,
        zookeeper: ZooKeeperServer | None = None,
        chroot: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        folder, port = Path(tempfile.mkdtemp(prefix="interop-kafka-")), free_port()
        self._owns_zookeeper = zookeeper is None
        self.zookeeper = zookeeper or ZooKeeperServer(_KAFKA)
        self._chroot = chroot
        self._broker_id = (overrides or {}).get("broker.id", "0")
        process = java_process(
            folder,
            "server",
            "kafka.Kafka",
            heap="512m",
            set_name=_KAFKA,
            settings={**self._settings(folder, port), **(overrides or {})},
            options=options,
        )
        super().__init__(process, folder, port)

    def start(self) -> None:
        self.zookeeper.start()
        self._process.start()
        self._process.wait_for_broker(self.port, self.START_TIMEOUT_S, knows_controller)

    def restart(self) -> None:
        self.wait_until_forgotten()
        self.start()

    def wait_until_forgotten(self) -> None:
        """A killed broker's registration lives as long as its ZooKeeper session, and Kafka refuses to start
        beside it."""
        wait_until(lambda: not self._is_registered(), "the end of the old registration", 30)

    def stop(self) -> None:
        self._process.stop()
        if self._owns_zookeeper:
            self.zookeeper.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settings(self, folder: Path, port: int) -> dict[str, str]:
        """What Kafka's own config/server.properties sets for one node, plus addresses."""
        return {
            "broker.id": self._broker_id,
            "listeners": f"PLAINTEXT://{LOCALHOST}:{port}",
            "zookeeper.connect": self.zookeeper.address + self._chroot,
            "zookeeper.session.timeout.ms": str(self.ZOOKEEPER_SESSION_MS),
            "log.dirs": str(folder / "data"),
            "num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }

    def _is_registered(self) -> bool:
        return self._broker_id in (self.zookeeper.children(f"{self._chroot}/brokers/ids") or ())


SERVERS: Mapping[str, Callable[[], Server]] = {
    "pybroker": PybrokerServer,
    "apache": ApacheKafkaServer,
    "apache4": ApacheKafka4Server,
}
"""`--server` name -> class."""


def make_server(name: str) -> Server:
    """A server under test by its name, not yet started."""
    return SERVERS[name]()
