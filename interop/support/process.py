"""A child process of the suite: its log file, its death, and the question whether a Kafka server answers."""

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
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

    def wait_for_broker(
        self, port: int, timeout_s: float, is_ready: Callable[[int], bool] | None = None
    ) -> None:
        """Until the process answers ApiVersions on `port`, or `is_ready` says so; fails at once when it has
        died."""
        probe = is_ready or answers_api_versions

        def answers() -> bool:
            if not self.is_running:
                raise AssertionError(f"{self.command[0]} ended while starting:\n{self.log_tail()}")
            return probe(port)

        try:
            wait_until(answers, f"a broker that is ready on port {port}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None


class ProcessServer:
    """A server of the suite in a process of its own, with a folder and a port of the loopback interface."""

    def __init__(self, process: ChildProcess, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process = process

    @property
    def bootstrap(self) -> str:
        """`host:port` of its clients."""
        return f"{LOCALHOST}:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def kill9(self) -> None:
        self._process.kill9()

    def stop_process(self) -> None:
        """Stop it in good order; its data stays."""
        self._process.stop()

    def log_tail(self, lines: int = 30) -> str:
        return self._process.log_tail(lines)


_CORRELATION_ID = 7


def answers_api_versions(port: int) -> bool:
    """Whether the port gives a well-formed, error-free ApiVersions v0 response."""
    answer = _ask(port, 18, 0, b"")
    return len(answer) >= 6 and struct.unpack_from(">ih", answer) == (_CORRELATION_ID, 0)


def knows_controller(port: int) -> bool:
    """Whether the broker tells in Metadata v1 who the controller is. Apache Kafka serves its port a moment
    earlier, and clients that want the controller then wait until they ask for the metadata again."""
    answer = _ask(port, 3, 1, struct.pack(">i", 0))
    try:
        correlation_id, brokers = struct.unpack_from(">ii", answer)
        at = 8
        for _ in range(brokers):
            (host_size,) = struct.unpack_from(">h", answer, at + 4)
            at += 6 + host_size + 4
            (rack_size,) = struct.unpack_from(">h", answer, at)
            at += 2 + max(rack_size, 0)
        (controller_id,) = struct.unpack_from(">i", answer, at)
    except struct.error:
        return False
    return correlation_id == _CORRELATION_ID and controller_id >= 0


def _ask(port: int, key: int, version: int, body: bytes) -> bytes:
    """What follows the size of an answer; nothing when there is none."""
    client_id = b"interop-probe"
    request = struct.pack(">hhih", key, version, _CORRELATION_ID, len(client_id)) + client_id + body
    try:
        with socket.create_connection((LOCALHOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return connection.recv(65536)[4:]
    except OSError:
        return b""
