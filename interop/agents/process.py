"""The agent: a program that takes one JSON object a line on standard input and answers each with one."""

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from interop.support.maven import CACHE
from interop.support.waiting import Deadline

LOG_LINES = 20
READ_SIZE = 1 << 20
ERROR_LENGTH = 600
"""Of a library's words, which may name each of thousands of records."""


class AgentFailed(AssertionError):
    """The agent died or gave no answer; the message holds the end of its log."""


class CallFailed(RuntimeError):
    """The client library itself raised; the message is its own words."""


class AgentProcess:
    """One running agent; calls are answered in order, one at a time."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        folder = CACHE / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        self._log_file = folder / f"agent-{name}.log"
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        self._buffer = bytearray()

    def call(self, name: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """The answer's members; raises CallFailed with the library's words, AgentFailed without an answer."""
        self._send(json.dumps({"call": name, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._line(name, timeout_s))
        if "error" in answer:
            raise CallFailed(f"{name}: {answer['error'][:ERROR_LENGTH]}")
        return answer

    def close(self) -> None:
        """End of input is the agent's signal to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._kill()

    def _send(self, line: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        view = memoryview(line)
        while view:
            view = view[pipe.write(view) :]

    def _line(self, call: str, timeout_s: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        deadline = Deadline(timeout_s)
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            ready, _, _ = select.select([pipe], [], [], deadline.remaining)
            if not ready:
                raise self._failure(f"gave no answer to {call} in {timeout_s:g} s")
            chunk = os.read(pipe.fileno(), READ_SIZE)
            if not chunk:
                raise self._failure(f"ended during {call}")
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _failure(self, what: str) -> AgentFailed:
        self._kill()
        tail = "\n".join(self._log_file.read_text(errors="replace").splitlines()[-LOG_LINES:])
        return AgentFailed(f"agent {self._name} {what}\n{tail}")

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait(10)
