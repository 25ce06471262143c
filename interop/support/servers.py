"""The servers under test, behind one interface: a pybroker of this checkout, and Apache Kafka 3.9."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from kazoo.client import KazooClient

from interop.support import maven
from interop.support.process import LOCALHOST, ChildProcess, free_port
from interop.support.tools import require_tool
from interop.support.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parent.parent.parent
JAVA_FOLDER = CHECKOUT / "interop" / "java"


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


class PybrokerServer:
    """`python -m pybroker serve` of this checkout, with its own data directory."""

    name = "pybroker"
    START_TIMEOUT_S = 30.0

    def __init__(self, overrides: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="interop-pybroker-"))
        self._owns_folder = folder is None
        self.port = free_port()
        settings = {
            "listeners": f"PLAINTEXT://{LOCALHOST}:{self.port}",
            "advertised.listeners": f"PLAINTEXT://{LOCALHOST}:{self.port}",
            "log.dirs": str(self.folder / "data"),
            **(overrides or {}),
        }
        python = os.environ.get(SERVER_PYTHON, sys.executable)
        command = [python, "-m", "pybroker", "serve"]
        for key, value in settings.items():
            command += ["--override", f"{key}={value}"]
        # Run from the data folder: the package is found by its installation or PYTHONPATH, not by luck.
        search_path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        self._process = ChildProcess(command, self.folder / "server.log", {"PYTHONPATH": search_path})

    @property
    def bootstrap(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        self._process.start()
        self._process.wait_for_broker(self.port, self.START_TIMEOUT_S)

    def kill9(self) -> None:
        self._process.kill9()

    def restart(self) -> None:
        self.start()

    def stop(self) -> None:
        self._process.stop()
        if self._owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int = 30) -> str:
        return self._process.log_tail(lines)


class ApacheKafkaServer:
    """Apache Kafka 3.9 in ZooKeeper mode with a ZooKeeper of its own, both with a small heap."""

    name = "apache"
    ZOOKEEPER_SESSION_MS = 3000
    START_TIMEOUT_S = 90.0

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="interop-kafka-"))
        self.port = free_port()
        self.zookeeper_port = free_port()
        self._zookeeper = self._java_process(
            "zookeeper",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            "128m",
            self._zookeeper_settings(),
        )
        self._broker = self._java_process(
            "server", "kafka.Kafka", "512m", {**self._broker_settings(), **(overrides or {})}
        )

    @property
    def bootstrap(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._broker.is_running

    @property
    def pid(self) -> int | None:
        return self._broker.pid

    def start_zookeeper(self) -> None:
        """Start only ZooKeeper, if it does not run, and wait until it answers."""
        if not self._zookeeper.is_running:
            self._zookeeper.start()
            wait_until(self._zookeeper_answers, "ZooKeeper", self.START_TIMEOUT_S)

    def start(self) -> None:
        self.start_zookeeper()
        self._broker.start()
        self._broker.wait_for_broker(self.port, self.START_TIMEOUT_S)

    def kill9(self) -> None:
        self._broker.kill9()

    def restart(self) -> None:
        self.wait_until_forgotten()
        self.start()

    def wait_until_forgotten(self) -> None:
        """A killed broker's registration lives as long as its ZooKeeper session, and Kafka refuses to start
        beside it."""
        wait_until(lambda: not self._is_registered(), "the end of the old registration", 30)

    def stop_broker(self) -> None:
        """Stop the broker in good order; ZooKeeper stays."""
        self._broker.stop()

    def stop(self) -> None:
        self._broker.stop()
        self._zookeeper.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int = 30) -> str:
        return self._broker.log_tail(lines)

    def _java_process(self, name: str, main: str, heap: str, settings: Mapping[str, str]) -> ChildProcess:
        properties = self.folder / f"{name}.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = [
            require_tool("java", "default-jdk-headless"), f"-Xmx{heap}", "-Xss512k", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=4", "-Dzookeeper.admin.enableServer=false", "-Dinterop.log.level=INFO",
            f"-Dlog4j.configuration=file:{JAVA_FOLDER / 'log4j.properties'}",
            "-cp", maven.class_path("tools-3.9"), main, str(properties),
        ]  # fmt: skip
        return ChildProcess(command, self.folder / f"{name}.log")

    def _zookeeper_settings(self) -> dict[str, str]:
        return {
            "dataDir": str(self.folder / "zookeeper"),
            "clientPort": str(self.zookeeper_port),
            "clientPortAddress": LOCALHOST,
            "maxClientCnxns": "0",
            "tickTime": "500",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "ruok",
        }

    def _broker_settings(self) -> dict[str, str]:
        """What Kafka's own config/server.properties sets for one node, plus addresses."""
        return {
            "broker.id": "0",
            "listeners": f"PLAINTEXT://{LOCALHOST}:{self.port}",
            "zookeeper.connect": f"{LOCALHOST}:{self.zookeeper_port}",
            "zookeeper.session.timeout.ms": str(self.ZOOKEEPER_SESSION_MS),
            "log.dirs": str(self.folder / "data"),
            "num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }

    def _zookeeper_answers(self) -> bool:
        return self._ask_zookeeper("/") is not None

    def _is_registered(self) -> bool:
        return bool(self._ask_zookeeper("/brokers/ids"))

    def _ask_zookeeper(self, path: str) -> list[str] | None:
        """The children of `path`, or None when ZooKeeper does not answer."""
        client = KazooClient(f"{LOCALHOST}:{self.zookeeper_port}", timeout=2.0)
        try:
            client.start(timeout=2)
            children: list[str] = client.get_children(path)
        except client.handler.timeout_exception:
            return None
        finally:
            client.stop()
            client.close()
        return children


SERVERS: Mapping[str, Callable[[], Server]] = {"pybroker": PybrokerServer, "apache": ApacheKafkaServer}
"""`--server` name -> class."""


def make_server(name: str) -> Server:
    """A server under test by its name, not yet started."""
    return SERVERS[name]()
