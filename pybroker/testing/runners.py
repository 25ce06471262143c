"""Where the brokers of a test run: in a thread of its process, or in a process of their own."""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import trio

from pybroker.control.operations import (
    EXPECTED,
    OPERATION_BY_NAME,
    OperationFailed,
)
from pybroker.control.reading import read
from pybroker.instruments.plain import Plain
from pybroker.testing.controls import HostControls
from pybroker.testing.host import Host, HostSettings
from pybroker.testing.seeds import Seed

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class Runner(Protocol):
    """Runs a cluster and carries out operations on it."""

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Plain:
        """The result of an operation of the table.

        Raises:
            BadInput, InvalidFault, NoSuchThing, OperationFailed, TimedOut: see there.
        """

    def close(self) -> None:
        """Ends the cluster. Closing twice does nothing."""


class ThreadRunner:
    """A host in a daemon thread, from construction to :meth:`close`.

    Raises:
        StartupError: it cannot start.
    """

    def __init__(self, settings: HostSettings, seed: Seed) -> None:
        self._settings = settings
        self._seed = seed
        self._controls: HostControls | None = None
        self._scope = trio.CancelScope()
        self._started: Future[trio.lowlevel.TrioToken] = Future()
        self._thread = threading.Thread(target=self._run, name="pybroker", daemon=True)
        self._thread.start()
        self._token = self._started.result(START_TIMEOUT_S)

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Plain:
        wanted: Any = read(OPERATION_BY_NAME[operation].arguments, dict(arguments))
        if not self._thread.is_alive():
            raise OperationFailed("the cluster has ended")
        assert self._controls is not None
        return trio.from_thread.run(self._controls, operation, wanted, trio_token=self._token)

    def close(self) -> None:
        if self._thread.is_alive():
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the start
            if not self._started.done():
                self._started.set_exception(_first(error))

    async def _serve(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                host = Host(self._settings)
                await nursery.start(host.run)
                self._controls = HostControls(host, self._seed)
                await self._controls.plant()
                self._started.set_result(trio.lowlevel.current_trio_token())
                await trio.sleep_forever()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class HttpRunner:
    """A cluster somewhere else, through its HTTP API."""

    _ERRORS = {each.__name__: each for each in EXPECTED}

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._token = token

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Plain:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        body = json.dumps(arguments).encode()
        request = urllib.request.Request(f"{self._url}/v1/{operation}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request) as response:
                result: Plain = json.load(response)
        except urllib.error.HTTPError as refused:
            told = json.load(refused)
            raise self._ERRORS.get(told["kind"], OperationFailed)(told["error"]) from None
        except OSError as error:
            raise OperationFailed(f"no cluster answers at {self._url}: {error}") from None
        return result

    def close(self) -> None:
        """The cluster goes on; it is somebody else's."""


class ProcessRunner(HttpRunner):
    """``pybroker serve`` as a process of its own, from construction to :meth:`close`.

    Args:
        properties: its configuration; the control listener is added.

    Raises:
        OperationFailed: it ends instead of starting; the message has its last lines.
    """

    def __init__(self, properties: Mapping[str, str], log: Path) -> None:
        overrides = {**properties, "pybroker.control.listener": "127.0.0.1:0"}
        options = [part for key, value in overrides.items() for part in ("--override", f"{key}={value}")]
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pybroker", "serve", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        assert self._process.stdout is not None
        # It prints one line, the address of its control listener, when it is ready.
        address = self._process.stdout.readline().decode().strip()
        if not address:
            self._process.wait(STOP_TIMEOUT_S)
            raise OperationFailed(f"the broker did not start: {self._last_lines()}")
        super().__init__(address)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _last_lines(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").splitlines()[-3:])
