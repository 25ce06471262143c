"""A real ZooKeeper server on 127.0.0.1, for Apache Kafka, for pybroker and for the tests of the store."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kazoo.client import KazooClient

from interop.support import maven
from interop.support.process import LOCALHOST, ChildProcess, ProcessServer, free_port
from interop.support.tools import require_tool
from interop.support.waiting import wait_until

JAVA_FOLDER = Path(__file__).resolve().parent.parent / "java"
CLASS_PATH = "zookeeper-3.8"
START_TIMEOUT_S = 60.0


class ZooKeeperServer(ProcessServer):
    """One standalone server with a small heap, its own folder and a free port.

    Args:
        set_name: the class path that has it.
        settings: properties on top of the usual ones.
        options: system properties of its JVM.
    """

    def __init__(
        self,
        set_name: str = CLASS_PATH,
        settings: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        folder, port = Path(tempfile.mkdtemp(prefix="interop-zookeeper-")), free_port()
        process = java_process(
            folder,
            "zookeeper",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            heap="128m",
            set_name=set_name,
            settings={**self._settings(folder, port), **(settings or {})},
            options={"zookeeper.admin.enableServer": "false", **(options or {})},
        )
        super().__init__(process, folder, port)

    @property
    def address(self) -> str:
        """`host:port` for clients without TLS."""
        return self.bootstrap

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers."""
        if not self.is_running:
            self._process.start()
            wait_until(lambda: self.children("/") is not None, "ZooKeeper", START_TIMEOUT_S)

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def children(self, path: str) -> list[str] | None:
        """The names below `path`, or None when ZooKeeper does not answer."""
        quiet = logging.getLogger(__name__)
        quiet.setLevel(logging.CRITICAL)  # nothing answers while it starts
        client = KazooClient(self.address, timeout=2.0, logger=quiet)
        try:
            client.start(timeout=2)
            children: list[str] = client.get_children(path)
        except client.handler.timeout_exception:
            return None
        finally:
            client.stop()
            client.close()
        return children

    @staticmethod
    def _settings(folder: Path, port: int) -> dict[str, str]:
        return {
            "dataDir": str(folder / "data"),
            "clientPort": str(port),
            "clientPortAddress": LOCALHOST,
            "maxClientCnxns": "0",
            "tickTime": "500",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "ruok",
        }


def java_process(
    folder: Path,
    name: str,
    main: str,
    *,
    heap: str,
    set_name: str,
    settings: Mapping[str, str],
    options: Mapping[str, str] | None = None,
) -> ChildProcess:
    """A JVM that runs `main` with a properties file; both logs and properties lie in `folder`."""
    properties = folder / f"{name}.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    command = [
        require_tool("java", "default-jdk-headless"), f"-Xmx{heap}", "-Xss512k", "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=4", "-Dinterop.log.level=INFO",
        f"-Dlog4j.configuration=file:{JAVA_FOLDER / 'log4j.properties'}",
        *(f"-D{key}={value}" for key, value in (options or {}).items()),
        "-cp", maven.class_path(set_name), main, str(properties),
    ]  # fmt: skip
    return ChildProcess(command, folder / f"{name}.log")
