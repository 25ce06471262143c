"""A child process of the suite: its log file, its death, and the question whether a Kafka server answers."""

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from interop.support.waiting import wait_until

LOCALHOST = "127.0.0.1"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


class ChildProcess:
    """One program with its output appended to a log file; may be started again after it died."""

    def __init__(
        self, command: Sequence[str], log_file: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log_file = log_file
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.is_running, f"{self.command[0]} runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True,
            )  # fmt: skip

    def kill9(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._end(signal.SIGKILL, timeout_s=10)

    def stop(self, timeout_s: float = 20.0) -> None:
        """SIGTERM; SIGKILL when the process is still there after `timeout_s`."""
        try:
            self._end(signal.SIGTERM, timeout_s)
        except subprocess.TimeoutExpired:
            self.kill9()

    def _end(self, signal_number: int, timeout_s: float) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal_number)
        self._process.wait(timeout_s)

    def log_tail(self, lines: int = 30) -> str:
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def wait_for_broker(self, port: int, timeout_s: float) -> None:
        """Until the process answers ApiVersions on `port`; fails at once when it has died."""

        def answers() -> bool:
            if not self.is_running:
                raise AssertionError(f"{self.command[0]} ended while starting:\n{self.log_tail()}")
            return answers_api_versions(port)

        try:
            wait_until(answers, f"an ApiVersions answer on port {port}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None


def answers_api_versions(port: int) -> bool:
    """Whether the port gives a well-formed, error-free ApiVersions v0 response."""
    correlation_id = 7
    client_id = b"interop-probe"
    body = struct.pack(">hhih", 18, 0, correlation_id, len(client_id)) + client_id
    try:
        with socket.create_connection((LOCALHOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(65536)
    except OSError:
        return False
    return len(answer) >= 10 and struct.unpack_from(">ih", answer, 4) == (correlation_id, 0)
