"""One container of the image under test, with its broker's port published on 127.0.0.1."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from interop.support.docker import Docker
from interop.support.process import LOCALHOST, answers_api_versions, free_port
from interop.support.waiting import wait_until

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30
PORT = 9092


class Container:
    """`docker run` of the image until :meth:`remove`.

    Args:
        variables: its environment.
        options: further options of `docker run`.
        arguments: what to run in it instead of the image's command.
        port: the one of this machine to publish; a free one by default.
    """

    def __init__(
        self,
        docker: Docker,
        image: str,
        variables: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        arguments: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        self._docker = docker
        self.port = port or free_port()
        command = ["run", "-d", "-p", f"{LOCALHOST}:{self.port}:{PORT}", *options]
        for name, value in (variables or {}).items():
            command += ["-e", f"{name}={value}"]
        self.id = docker(*command, image, *arguments)

    @property
    def bootstrap(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._docker("inspect", "--format", "{{json .State}}", self.id))
        return found

    def log(self) -> str:
        """Both streams."""
        done = self._docker.attempt("logs", self.id)
        return done.stdout + done.stderr

    def execute(self, *command: str) -> str:
        """What a command inside prints."""
        return self._docker("exec", self.id, *command)

    def wait_until_ready(self) -> "Container":
        """Until the broker answers on its published port."""

        def ready() -> bool:
            if not self.state["Running"]:
                raise AssertionError(f"the container ended while starting:\n{self.log()}")
            return answers_api_versions(self.port)

        wait_until(ready, "the broker in its container", READY_TIMEOUT_S)
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self._docker("stop", "-t", str(STOP_TIMEOUT_S), self.id)
        return int(self.state["ExitCode"])

    def start(self) -> "Container":
        """Once more after :meth:`stop` or a kill."""
        self._docker("start", self.id)
        return self.wait_until_ready()

    def kill(self) -> None:
        self._docker("kill", self.id)

    def remove(self) -> None:
        """Also its unnamed volumes; nothing happens when it is gone already."""
        self._docker.attempt("rm", "-f", "-v", self.id)
