"""Throws mutated requests at a real broker and watches what it costs.

Run ``python -m interop.soak.mutated_frames [--frames 100000] [--seed 1]``. Starts its own broker, or uses the
one that ``--port`` and ``--pid`` name. Each frame is followed by an ApiVersions request on its connection, so
every outcome is seen: answered, closed, or the request legitimately waits. A bystander connection that was
there before asks now and then and must always be answered.

Ends with 1 when the broker died, the bystander was not served, memory grew by more than ``--allowed-mib``, or
the broker's log has a traceback.
"""

import argparse
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import trio

from interop.support.process import LOCALHOST, ChildProcess, free_port
from pybroker.protocol.codec import decode_exactly
from pybroker.protocol.messages import ApiVersionsResponse
from tests.support.mutated_frames import mutated_frames

TABLE = Path(__file__).parent / "results" / "mutated-frames.md"
MARKER = 0x5EED
CLIENTS = 16
WAITS_AFTER_S = 1.0
LOOK_EVERY = 1000
MEBIBYTE = 1024 * 1024
_SIZE = struct.Struct(">i")
_ASK_VERSIONS = struct.pack(">ihhih", 10, 18, 0, MARKER, -1)
_MARKER_HEAD = struct.pack(">i", MARKER)


class Run:
    """The frames still to send and what became of those that were sent."""

    def __init__(self, frames: Iterator[bytes], port: int, process: psutil.Process) -> None:
        self.frames = frames
        self.port = port
        self.process = process
        self.outcomes: Counter[str] = Counter()
        self.sent = 0
        self.start_rss = self.rss()
        self.highest_rss = self.start_rss
        self.slowest_bystander_s = 0.0
        self.started_s = time.perf_counter()

    def rss(self) -> int:
        resident: int = self.process.memory_info().rss
        return resident

    async def all(self) -> None:
        bystander = await trio.open_tcp_stream(LOCALHOST, self.port)
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(self._client, bystander)
        await self._ask(bystander)

    async def _client(self, bystander: trio.SocketStream) -> None:
        for frame in self.frames:
            self.sent += 1
            if self.sent % LOOK_EVERY == 0:
                await self._look(bystander, self.sent)
            self.outcomes[await self._throw(frame)] += 1

    async def _throw(self, frame: bytes) -> str:
        stream = await trio.open_tcp_stream(LOCALHOST, self.port)
        async with stream:
            with trio.move_on_after(WAITS_AFTER_S):
                try:
                    await stream.send_all(_SIZE.pack(len(frame)) + frame + _ASK_VERSIONS)
                    return await _outcome(stream)
                except trio.BrokenResourceError:
                    return "closed"
            return "waits"

    async def _look(self, bystander: trio.SocketStream, sent: int) -> None:
        self.highest_rss = max(self.highest_rss, self.rss())
        asked_s = time.perf_counter()
        await self._ask(bystander)
        self.slowest_bystander_s = max(self.slowest_bystander_s, time.perf_counter() - asked_s)
        if sent % (10 * LOOK_EVERY) == 0:
            rate = sent / (time.perf_counter() - self.started_s)
            print(
                f"{sent} frames, {rate:.0f}/s, RSS {self.rss() / MEBIBYTE:.1f} MiB",
                file=sys.stderr,
                flush=True,
            )

    async def _ask(self, bystander: trio.SocketStream) -> None:
        with trio.fail_after(10):
            await bystander.send_all(_ASK_VERSIONS)
            if await _outcome(bystander) != "answered":
                raise AssertionError("the bystander's connection was closed")


async def _outcome(stream: trio.SocketStream) -> str:
    """ "answered" once the reply to the marker has come, "closed" when the connection ended before it."""
    received = bytearray()
    while True:
        while len(received) >= 4:
            (size,) = _SIZE.unpack_from(received)
            if len(received) < 4 + size:
                break
            if received[4:8] == _MARKER_HEAD:
                return "answered"
            del received[: 4 + size]
        data = await stream.receive_some(65536)
        if not data:
            return "closed"
        received += data


def table(run: Run, seed: int, log: str, allowed_bytes: int) -> tuple[str, bool]:
    """The results, and whether they are good."""
    grown = max(run.highest_rss, run.rss()) - run.start_rss
    tracebacks = log.count("Traceback (most recent call last)")
    rows = {
        "seed": seed,
        "frames": run.sent,
        **{name: run.outcomes[name] for name in ("answered", "closed", "waits")},
        "seconds": f"{time.perf_counter() - run.started_s:.1f}",
        "RSS before, MiB": f"{run.start_rss / MEBIBYTE:.1f}",
        "RSS highest, MiB": f"{run.highest_rss / MEBIBYTE:.1f}",
        "RSS after, MiB": f"{run.rss() / MEBIBYTE:.1f}",
        "slowest answer to the bystander, ms": f"{run.slowest_bystander_s * 1000:.1f}",
        "tracebacks in the log": tracebacks,
    }
    text = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"| mutated frames | |\n|---|---|\n{text}", grown <= allowed_bytes and tracebacks == 0


def served_versions(port: int) -> dict[int, tuple[int, int]]:
    """What the broker says it serves."""
    with socket.create_connection((LOCALHOST, port), timeout=5) as connection:
        connection.sendall(_ASK_VERSIONS)
        with connection.makefile("rb") as stream:
            (size,) = _SIZE.unpack(stream.read(4))
            answer = decode_exactly(ApiVersionsResponse, 0, stream.read(size), 4)
    return {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}


def distinct_tracebacks(log: str) -> str:
    """One traceback of every place that failed: the line before it and its end."""
    lines = log.splitlines()
    found: dict[str, list[str]] = {}
    for start in (number for number, line in enumerate(lines) if line.startswith("Traceback")):
        end = start + 1
        while end < len(lines) and not lines[end].startswith("20"):
            end += 1
        places = [line for line in lines[start:end] if line.lstrip().startswith("File ")]
        found.setdefault(places[-1], [lines[start - 1], *lines[max(start, end - 8) : end], ""])
    return "\n".join(line for shown in found.values() for line in shown)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--allowed-mib", type=int, default=64)
    parser.add_argument("--port", type=int, help="of a broker that runs already")
    parser.add_argument("--pid", type=int, help="of that broker")
    parser.add_argument("--table", type=Path, default=TABLE, help="file for the table (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pybroker-soak-") as folder:
        log_file = Path(folder, "broker.log")
        port = arguments.port or free_port()
        command = [sys.executable, "-m", "pybroker", "serve"]
        overrides = (f"listeners=PLAINTEXT://{LOCALHOST}:{port}", f"log.dirs={folder}/data")
        for override in overrides:
            command += ["--override", override]
        child = ChildProcess(command, log_file)
        if arguments.pid is None:
            child.start()
            child.wait_for_broker(port, 20)
        try:
            frames = mutated_frames(arguments.seed, arguments.frames, served_versions(port))
            run = Run(frames, port, psutil.Process(arguments.pid or child.pid))
            trio.run(run.all)
            log = log_file.read_text(errors="replace") if log_file.exists() else ""
            text, is_good = table(run, arguments.seed, log, arguments.allowed_mib * MEBIBYTE)
            print(text)
            arguments.table.parent.mkdir(exist_ok=True)
            arguments.table.write_text(text + "\n")
            if not is_good:
                print(distinct_tracebacks(log), file=sys.stderr)
            return 0 if is_good else 1
        finally:
            child.stop()


if __name__ == "__main__":
    sys.exit(main())
