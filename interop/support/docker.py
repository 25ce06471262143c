"""A Docker engine, and the image of this checkout in it.

The engine that answers already is used. Where none does, as root on Debian, one is installed, started with a
data directory of its own in the cache, and stopped at the end; what it publishes is bound to 127.0.0.1.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from interop.support.maven import CACHE
from interop.support.process import LOCALHOST, ChildProcess
from interop.support.servers import CHECKOUT
from interop.support.tools import ToolMissing, require_tool
from interop.support.waiting import wait_until

DOCKERFILE = CHECKOUT / "docker" / "Dockerfile"
MAKE_BASE = CHECKOUT / "docker" / "make-base"
PUBLIC_BASE = "debian:bookworm-slim"
IMAGE = "pybroker:interop"

START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
BUILD_TIMEOUT_S = 1200.0
LAST_CHARACTERS = 2000


class Docker(Struct, frozen=True):
    """The command line of one engine."""

    environment: Mapping[str, str]
    """What tells programs where the engine is, beside what this process has."""

    def __call__(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """What ``docker ARGUMENTS`` prints; raises AssertionError with its complaint."""
        done = self.attempt(*arguments, timeout_s=timeout_s)
        complaint = (done.stdout + done.stderr)[-LAST_CHARACTERS:]
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {complaint}"
        return done.stdout.strip()

    def attempt(
        self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> "subprocess.CompletedProcess[str]":
        """The same, whatever comes of it."""
        return self.run(["docker", *arguments], timeout_s=timeout_s)

    def run(
        self, command: Sequence[str], *, timeout_s: float, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a program that speaks to the engine."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=CHECKOUT,
            env={**os.environ, **self.environment, **variables},
        )

    def has_image(self, name: str) -> bool:
        return self.attempt("image", "inspect", name).returncode == 0

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything the engine knows of a container or an image."""
        found: dict[str, Any] = json.loads(self("inspect", name))[0]
        return found

    def compose(self) -> list[str]:
        """The command that runs compose files: the engine's plugin, or Debian's docker-compose."""
        if self.attempt("compose", "version").returncode == 0:
            return ["docker", "compose"]
        return [require_tool("docker-compose", "docker-compose")]


@contextmanager
def docker_engine() -> Iterator[Docker]:
    """An engine; raises ToolMissing with the reason when there is none and none can be started."""
    present = Docker({})
    if shutil.which("docker") is not None and present.attempt("info").returncode == 0:
        yield present
        return
    if os.geteuid() != 0:
        raise ToolMissing("no Docker engine answers: start one, or run as root on Debian to have one started")
    require_tool("dockerd", "docker.io")
    with _alone(), _own_engine() as engine:
        yield engine


@contextmanager
def _alone() -> Iterator[None]:
    """Engines share the bridge and the firewall's rules: one at a time on a machine."""
    with (Path(tempfile.gettempdir()) / "pybroker-docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _own_engine() -> Iterator[Docker]:
    # Sockets have short paths only.
    folder = Path(tempfile.mkdtemp(prefix="pybroker-docker-"))
    socket = f"unix://{folder / 'docker.sock'}"
    command = ["dockerd", "--host", socket, "--ip", LOCALHOST, "--data-root", str(CACHE / "docker")]
    command += ["--exec-root", str(folder / "exec"), "--pidfile", str(folder / "dockerd.pid")]
    log = CACHE / "logs" / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    daemon = ChildProcess(command, log)
    engine = Docker({"DOCKER_HOST": socket})
    policy = _forward_policy()
    daemon.start()
    try:
        _until_ready(engine, daemon)
        # An engine closes the machine's way between networks; nobody else's must end with it.
        _set_forward_policy(policy)
        yield engine
    finally:
        daemon.stop(timeout_s=60)
        shutil.rmtree(folder, ignore_errors=True)


def _until_ready(engine: Docker, daemon: ChildProcess) -> None:
    def ready() -> bool:
        if not daemon.is_running:
            raise ToolMissing(f"the Docker engine ended while starting:\n{daemon.log_tail()}")
        return engine.attempt("info").returncode == 0

    wait_until(ready, "the Docker engine", START_TIMEOUT_S)


def _forward_policy() -> str:
    done = subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True, check=False)
    return "DROP" if "-P FORWARD DROP" in done.stdout else "ACCEPT"


def _set_forward_policy(policy: str) -> None:
    subprocess.run(["iptables", "-P", "FORWARD", policy], capture_output=True, check=False)


def build_image(docker: Docker, tag: str = IMAGE) -> str:
    """The image of this checkout, built when something it is made of has changed. Returns its id."""
    base, build_base = bases(docker)
    arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"BUILD_BASE={build_base}"]
    docker("build", "-f", str(DOCKERFILE), *arguments, "-t", tag, ".", timeout_s=BUILD_TIMEOUT_S)
    return str(docker.inspect(tag)["Id"])


def bases(docker: Docker) -> tuple[str, str]:
    """What the image and its wheels are built on: Debian's own image if the engine has it, else ours."""
    if docker.has_image(PUBLIC_BASE):
        return PUBLIC_BASE, PUBLIC_BASE
    name = f"pybroker-base:{hashlib.sha256(MAKE_BASE.read_bytes()).hexdigest()[:12]}"
    if not docker.has_image(f"{name}-build"):
        require_tool("debootstrap", "debootstrap")
        done = docker.run([str(MAKE_BASE), name], timeout_s=BUILD_TIMEOUT_S)
        if done.returncode != 0:
            raise ToolMissing(f"no base image: {(done.stdout + done.stderr)[-LAST_CHARACTERS:]}")
    return name, f"{name}-build"
