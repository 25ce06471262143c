"""Testcontainers' Kafka modules: which image each one starts, and with which client it is tried."""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

import interop.go.libraries
import interop.node.libraries
from interop.agents.process import AgentProcess
from interop.java.client import JavaClient
from interop.librdkafka.client import Librdkafka
from interop.support import golang, jvm, npm, venvs
from interop.support.client import GroupClient
from interop.support.process import LOCALHOST
from interop.support.tools import require_tool

HERE = Path(__file__).resolve().parent
PYTHON_REQUIREMENTS = ("testcontainers==4.15.0", "packaging")
START_TIMEOUT_S = 120.0
SETTINGS = {
    "TESTCONTAINERS_RYUK_DISABLED": "true",
    # Where the published ports are: a suite that runs in a container itself would look elsewhere.
    "TESTCONTAINERS_HOST_OVERRIDE": LOCALHOST,
    "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
}
"""Testcontainers' own variables: no container that cleans up after the others."""


def _java() -> list[str]:
    class_path = jvm.compiled("ContainerStarter", "testcontainers")
    return [require_tool("java", "default-jdk-headless"), "-cp", class_path, "ContainerStarter"]


def _python() -> list[str]:
    return [venvs.interpreter("testcontainers", PYTHON_REQUIREMENTS), str(HERE / "start.py")]


def _go() -> list[str]:
    return [str(golang.program(HERE / "go", ".", "testcontainers"))]


def _node() -> list[str]:
    return npm.command(HERE / "node", "start")


class Language(Struct, frozen=True):
    """The program that starts containers by the module, and a client of the same language."""

    starter: Callable[[], list[str]]
    client: Callable[[str], GroupClient]


LANGUAGES: Mapping[str, Language] = {
    "java": Language(_java, lambda bootstrap: JavaClient(bootstrap, "clients-3.9")),
    "python": Language(_python, Librdkafka),
    "go": Language(_go, lambda bootstrap: interop.go.libraries.start("franz", bootstrap)),
    "node": Language(_node, lambda bootstrap: interop.node.libraries.start("kafkajs", bootstrap)),
}


class Module(Struct, frozen=True):
    """One way of one module. ``image`` is a name that the module takes for the image it was written for."""

    language: str
    mode: str
    image: str

    def __str__(self) -> str:
        return f"{self.language} {self.mode} {self.image}"


MODULES = (
    Module("java", "apache", "apache/kafka:3.9.1"),
    Module("java", "apache", "apache/kafka-native:3.9.1"),
    Module("java", "confluent", "confluentinc/cp-kafka:7.6.0"),
    Module("java", "zookeeper", "confluentinc/cp-kafka:7.6.0"),
    Module("java", "kraft", "confluentinc/cp-kafka:7.3.2"),
    Module("python", "zookeeper", "confluentinc/cp-kafka:7.6.0"),
    Module("python", "kraft", "confluentinc/cp-kafka:7.6.0"),
    Module("go", "kraft", "confluentinc/confluent-local:7.5.0"),
    Module("node", "zookeeper", "confluentinc/cp-kafka:7.6.0"),
    Module("node", "kraft", "confluentinc/cp-kafka:7.3.2"),
    Module("node", "kraft", "confluentinc/cp-kafka:8.0.0"),
)
"""Where a module has a default image, it is the one here; the others take other paths through its scripts."""


class StartedModule:
    """A container that a module has started; it stops it at :meth:`close`."""

    def __init__(self, module: Module, environment: Mapping[str, str]) -> None:
        command = [*LANGUAGES[module.language].starter(), module.mode, module.image]
        self._program = AgentProcess(f"start-{module.language}", command, {**environment, **SETTINGS})
        self.bootstrap = str(self._program.call("start", START_TIMEOUT_S)["bootstrap"])

    def close(self) -> None:
        """The end of input is the starter's signal to stop the container."""
        self._program.close()
