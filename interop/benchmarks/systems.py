"""The systems that are measured side by side, each one broker in a process of its own on 127.0.0.1.

Apache Kafka runs as its own start scripts run it: their heap and garbage collector, the properties of
config/server.properties, ZooKeeper in another process that is not counted.
"""

import hashlib
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Protocol

import psutil
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from interop.benchmarks import build
from interop.benchmarks.probe import await_metadata
from interop.support import maven
from interop.support.kraft import ApacheKafka4Server
from interop.support.maven import CACHE
from interop.support.process import LOCALHOST, ChildProcess, free_port
from interop.support.servers import CHECKOUT, ApacheKafkaServer, PybrokerServer
from interop.support.tools import require_tool
from interop.support.venvs import interpreter
from interop.support.zookeeper import JAVA_FOLDER

ADMIN_TIMEOUT_S = 30
START_TIMEOUT_S = 90
MIB = 1024 * 1024


class System(Protocol):
    """One broker that can be started, loaded and looked at from outside."""

    name: str

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int:
        """The broker's process; an error when it does not run."""
        ...

    def prepare(self) -> None:
        """Everything it needs beside itself is running: what is left is the broker's own start."""
        ...

    def launch(self) -> None:
        """Start the process without waiting for it."""
        ...

    def halt(self) -> None:
        """End the process in good order; it can be launched again."""
        ...

    def close(self) -> None:
        """Halt, and remove all it has left."""
        ...

    def create_topic(self, topic: str, partitions: int) -> None: ...

    def delete_topic(self, topic: str) -> None: ...


class _Topics:
    """Topics made and deleted by an admin client of librdkafka."""

    port: int

    def create_topic(self, topic: str, partitions: int) -> None:
        admin = self._admin()  # must outlive its calls
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(ADMIN_TIMEOUT_S)

    def delete_topic(self, topic: str) -> None:
        admin = self._admin()
        admin.delete_topics([topic])[topic].result(ADMIN_TIMEOUT_S)

    def _admin(self) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": f"{LOCALHOST}:{self.port}",
                "broker.address.family": "v4",
                "enable.metrics.push": False,
                "log_level": 3,
            }
        )


def installed_python() -> str:
    """The Python of a venv in the cache with what ``make run`` installs: no development tools beside it."""
    wanted = hashlib.sha256((CHECKOUT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    return interpreter(f"pybroker-{wanted}", ("--editable", str(CHECKOUT)))


class PybrokerSystem(_Topics, PybrokerServer):
    """pybroker of this checkout; ``settings`` differ from its defaults."""

    def __init__(self, name: str = "pybroker", settings: Mapping[str, str] | None = None) -> None:
        super().__init__(settings, Path(mkdtemp(prefix="bench-pybroker-")))
        self._owns_folder = True
        self.name = name
        # As installed: with its bytecode at hand, whatever the environment of the benchmark says.
        self._process = ChildProcess(
            [installed_python(), *self._process.command[1:]],
            self._process.log_file,
            {
                "PYTHONPATH": str(CHECKOUT),
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"),
            },
        )

    @property
    def pid(self) -> int:
        return _running(self._process)

    def prepare(self) -> None:
        return

    def launch(self) -> None:
        self._process.start()

    def halt(self) -> None:
        self._process.stop()

    def close(self) -> None:
        self.stop()

    def stretches_ms(self) -> tuple[float, float]:
        """The longest stretch on the loop of its last run, by the clock and by CPU; logged when halted."""
        found = re.findall(r"stretch on the loop was ([\d.]+) ms .* CPU in one ([\d.]+) ms", self.log_tail())
        assert found, f"pybroker did not tell its longest stretch:\n{self.log_tail()}"
        return float(found[-1][0]), float(found[-1][1])


class KafkaSystem(_Topics, ApacheKafkaServer):
    """Apache Kafka 3.9 with the JVM options of kafka-server-start.sh and kafka-run-class.sh."""

    name = "kafka"
    JVM = (
        "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
        "-Djava.awt.headless=true",
    )  # fmt: skip

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(settings)
        properties = self.folder / "server.properties"
        self._broker = ChildProcess(
            [
                require_tool("java", "default-jdk-headless"), *self.JVM, "-Dinterop.log.level=INFO",
                f"-Dlog4j.configuration=file:{JAVA_FOLDER / 'log4j.properties'}",
                "-cp", maven.class_path("tools-3.9"), "kafka.Kafka", str(properties),
            ],
            self.folder / "server.log",
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return _running(self._broker)

    def prepare(self) -> None:
        self.zookeeper.start()

    def launch(self) -> None:
        self._broker.start()

    def halt(self) -> None:
        self._broker.stop()

    def close(self) -> None:
        self.stop()


class Kafka4System(_Topics, ApacheKafka4Server):
    """Apache Kafka 4 as one KRaft node, with the JVM options of its start scripts."""

    name = "kafka4"

    def __init__(self) -> None:
        super().__init__({"group.consumer.assignment.interval.ms": "0"}, KafkaSystem.JVM)

    @property
    def pid(self) -> int:
        return _running(self._process)

    def prepare(self) -> None:
        self.format()

    def launch(self) -> None:
        self._process.start()

    def halt(self) -> None:
        self._process.stop()

    def close(self) -> None:
        self.stop()


class _PipedProgram:
    """A native program that lives until its standard input ends, and its one port."""

    name: str
    port: int

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None and self._process.poll() is None, f"{self.name} does not run"
        return self._process.pid

    def prepare(self) -> None:
        return

    def halt(self) -> None:
        if self._process is not None:
            self._input().close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.halt()

    def _spawn(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _input(self) -> IO[str]:
        assert self._process is not None and self._process.stdin is not None
        return self._process.stdin

    def _line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.readline().strip()


class MockSystem(_PipedProgram):
    """librdkafka's mock cluster: one C thread, about 5 MB kept per partition, no disk."""

    name = "mock"

    def __init__(self) -> None:
        super().__init__()
        self._program = str(build.c_program("mock"))
        self.port = 0

    def launch(self) -> None:
        self._spawn([self._program])
        self.port = int(self._line().rpartition(":")[2])

    def create_topic(self, topic: str, partitions: int) -> None:
        self._input().write(f"{topic} {partitions}\n")
        self._input().flush()
        answer = self._line()
        assert answer == "ok", f"the mock cluster did not create {topic}: {answer}"

    def delete_topic(self, topic: str) -> None:
        """It cannot; it forgets old messages by itself."""


class KfakeSystem(_Topics, _PipedProgram):
    """franz-go's kfake: Go, everything in memory."""

    name = "kfake"

    def __init__(self) -> None:
        super().__init__()
        self._program = str(build.kfake_program())
        self.port = free_port()

    def launch(self) -> None:
        self._spawn([self._program, str(self.port)])


HEADER_ONLY = "pybroker (header)"

SYSTEMS: Mapping[str, Callable[[], System]] = {
    "pybroker": PybrokerSystem,
    HEADER_ONLY: lambda: PybrokerSystem(HEADER_ONLY, {"pybroker.record.validation": "header"}),
    "kafka": KafkaSystem,
    "mock": MockSystem,
    "kfake": KfakeSystem,
}
"""What can be measured, by the name in the tables."""


class Usage:
    """What the broker's process has used since a moment."""

    def __init__(self, system: System) -> None:
        self._process = psutil.Process(system.pid)
        self._before = self._total()

    def _total(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its threads."""
        return self._total() - self._before

    @property
    def rss_mib(self) -> float:
        """Memory resident now."""
        return float(self._process.memory_info().rss) / MIB


class Running:
    """Started systems as a context; all of them end with it."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._systems: list[System] = []

    def __enter__(self) -> list[System]:
        try:
            for name in self._names:
                system = SYSTEMS[name]()
                self._systems.append(system)
                system.prepare()
                system.launch()
                await_answer(system)
        except BaseException:
            self.__exit__()
            raise
        return self._systems

    def __exit__(self, *_: object) -> None:
        for system in self._systems:
            system.close()


def await_answer(system: System) -> None:
    """Until a launched system answers; raises AssertionError when it ends instead or takes too long."""
    try:
        await_metadata(system.port, START_TIMEOUT_S, lambda: system.pid)
    except AssertionError as error:
        raise AssertionError(f"{system.name}: {error}") from None


def _running(process: ChildProcess) -> int:
    assert process.is_running and process.pid is not None, f"not running:\n{process.log_tail()}"
    return process.pid
