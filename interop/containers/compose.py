"""The cluster of `docker/compose.yaml`, with its ports on free ones of this machine."""

import time
from collections.abc import Sequence
from pathlib import Path

from interop.support.cluster import sees_all_in_sync
from interop.support.docker import BUILD_TIMEOUT_S, CHECKOUT, Docker, bases, build_image
from interop.support.process import LOCALHOST, free_port
from interop.support.waiting import wait_until

FOLDER = CHECKOUT / "docker"
IMAGE = "pybroker:cluster-test"
OFFICIAL_ZOOKEEPER = "zookeeper:3.9"
BROKERS = ("broker-1", "broker-2", "broker-3")
ZOOKEEPER = "zookeeper"
PROJECT = "pybroker-cluster-test"
DATA = "/var/lib/kafka/data"
UP_TIMEOUT_S = 180.0
WHOLE_TIMEOUT_S = 180.0
"""A killed broker's session has to end first."""


class ComposeCluster:
    """ZooKeeper and three brokers. Without the official image, ZooKeeper is the stand-in of the test file."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self.ports = {name: free_port() for name in BROKERS}
        base, build_base = bases(docker)
        self._variables = {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "PYBROKER_IMAGE": IMAGE,
            "PYBROKER_BASE": base,
            "PYBROKER_BUILD_BASE": build_base,
            **{f"PYBROKER_PORT_{number}": str(port) for number, port in enumerate(self.ports.values(), 1)},
        }
        files = ["compose.yaml"]
        if not docker.has_image(OFFICIAL_ZOOKEEPER):
            files.append("compose.test.yaml")
        self._command = docker.compose()
        for file in files:
            self._command += ["-f", str(FOLDER / file)]

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOCALHOST}:{port}" for port in self.ports.values())

    def up(self) -> None:
        """Builds what is missing, and starts everything."""
        build_image(self._docker, IMAGE)
        self._compose("up", "-d", timeout_s=BUILD_TIMEOUT_S)
        self.wait_until_whole(())

    def down(self) -> None:
        """Everything is gone afterwards, the data too."""
        self._compose("down", "--volumes", "--remove-orphans")

    def kill(self, service: str) -> None:
        self._docker("kill", self._container(service))

    def start(self, service: str) -> None:
        self._docker("start", self._container(service))

    def stop(self, service: str) -> int:
        """As operators do: SIGTERM and the grace period of the compose file. Returns the exit code."""
        self._compose("stop", service)
        return int(self._docker("inspect", "--format", "{{.State.ExitCode}}", self._container(service)))

    def copy_data(self, service: str, folder: Path) -> None:
        """Copies a broker's log directory to a folder that is not there yet. The broker should be stopped."""
        self._docker("cp", f"{self._container(service)}:{DATA}", str(folder))

    def execute(self, service: str, *command: str) -> str:
        """What a command inside a container prints."""
        return self._docker("exec", self._container(service), *command)

    def log(self, service: str) -> str:
        return self._docker("logs", "--tail", "60", self._container(service))

    def memory(self) -> str:
        """What each container uses of its limit."""
        form = "{{.Name}} {{.MemUsage}}"
        return self._docker("stats", "--no-stream", "--format", form, *map(self._container, BROKERS))

    def wait_until_whole(self, topics: Sequence[str]) -> float:
        """Until every container is healthy and every broker tells that all replicas are in sync. Returns how
        long that took, in seconds."""
        started = time.monotonic()
        wait_until(lambda: self._is_whole(topics), "a whole cluster", WHOLE_TIMEOUT_S)
        return time.monotonic() - started

    def _is_whole(self, topics: Sequence[str]) -> bool:
        form = "{{.State.Health.Status}}"
        states = self._docker("inspect", "--format", form, *map(self._container, (ZOOKEEPER, *BROKERS)))
        return set(states.split()) == {"healthy"} and all(
            sees_all_in_sync(f"{LOCALHOST}:{port}", topics) for port in self.ports.values()
        )

    def _container(self, service: str) -> str:
        found = self._compose("ps", "-q", service).split()
        assert found, f"there is no container of {service}"
        return found[0]

    def _compose(self, *arguments: str, timeout_s: float = UP_TIMEOUT_S) -> str:
        done = self._docker.run([*self._command, *arguments], timeout_s=timeout_s, **self._variables)
        assert done.returncode == 0, f"compose {' '.join(arguments)}: {(done.stdout + done.stderr)[-2000:]}"
        return done.stdout
