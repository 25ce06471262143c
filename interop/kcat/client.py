"""kcat behind the client port: one process per producer run, reader and question."""

import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from interop.support.client import (
    EARLIEST,
    LATEST,
    Headers,
    Message,
    Producer,
    ProducerSettings,
    Reader,
    Received,
    Traits,
)
from interop.support.tools import require_tool
from interop.support.waiting import Deadline, wait_until

CALL_TIMEOUT_S = 30.0
KEY_DELIMITER = "\t"
STARTS = {EARLIEST: "beginning", LATEST: "end"}


class KcatFailed(RuntimeError):
    """A kcat ended with an error; the message holds its words."""


class Kcat:
    """The kcat of Debian, with the librdkafka that it is linked to."""

    name = "kcat"
    errors = (KcatFailed,)
    traits = Traits(
        own_timestamps=False,
        binary=False,
        empty_is_null=True,
        manages_topics=False,
        partition_count=1,
    )

    def __init__(self, bootstrap: str) -> None:
        self.command = [require_tool("kcat", "kcat"), "-b", bootstrap]
        self.version = _version(self.command[0])

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        """Ask for the metadata of the topic as a producer does, which makes the broker create it."""
        assert (partitions, configs) == (1, None), "kcat gets what auto creation gives"
        self._run("-L", "-t", topic)
        wait_until(lambda: self.topics().get(topic) == 1, f"auto creation of {topic}")

    def delete_topic(self, topic: str) -> None:
        raise NotImplementedError("kcat deletes no topics")

    def topics(self) -> Mapping[str, int]:
        listed = json.loads(self._run("-L", "-J"))
        return {
            topic["topic"]: sum(partition["leader"] >= 0 for partition in topic["partitions"])
            for topic in listed["topics"]
        }

    def producer(self, settings: ProducerSettings) -> Producer:
        return _Producer(self.command, settings)

    def reader(self, topic: str, partition: int, offset: int) -> Reader:
        return _Reader(self.command, topic, partition, offset)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        offset = self._query(topic, partition, timestamp_ms)
        return offset if offset >= 0 else None

    def end_offset(self, topic: str, partition: int) -> int:
        return self._query(topic, partition, -1)

    def close(self) -> None:
        """Nothing is held open."""

    def _query(self, topic: str, partition: int, time: int) -> int:
        printed = self._run("-Q", "-t", f"{topic}:{partition}:{time}")
        head, _, offset = printed.strip().rpartition(" offset ")
        assert head == f"{topic} [{partition}]", printed
        return int(offset)

    def _run(self, *arguments: str) -> str:
        command = [*self.command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


class _Producer(Producer):
    """kcat acknowledges by its exit code, so a flush ends one process and starts the next."""

    def __init__(self, base: Sequence[str], settings: ProducerSettings) -> None:
        self._base = base
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._topic = ""

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        if self._process is None:
            self._start(topic, messages[0].headers)
        assert topic == self._topic
        assert self._process is not None
        assert self._process.stdin is not None
        for message in messages:
            self._process.stdin.write(f"{_text(message.key)}{KEY_DELIMITER}{_text(message.value)}\n")
        self._process.stdin.flush()

    def flush(self, timeout_s: float) -> None:
        process = self._process
        assert process is not None
        _, errors = process.communicate(timeout=timeout_s)
        self._process = None
        if process.returncode != 0:
            raise KcatFailed(f"kcat -P ended with {process.returncode}: {errors}")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=5)

    def _start(self, topic: str, headers: Headers) -> None:
        settings = self._settings
        self._topic = topic
        command = [
            *self._base, "-P", "-E", "-t", topic, "-p", "0", "-K", KEY_DELIMITER, "-Z", "-z", settings.codec,
            "-X", f"acks={settings.acks}", "-X", f"enable.idempotence={str(settings.idempotent).lower()}",
        ]  # fmt: skip
        if settings.max_bytes is not None:
            command += ["-X", f"message.max.bytes={settings.max_bytes}"]
        for name, value in headers:
            command += ["-H", f"{name}={(value or b'').decode()}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )


class JsonLines:
    """A kcat consumer process whose `-J` lines come through a queue."""

    def __init__(self, command: Sequence[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for pump in (self._pump_output, self._pump_errors):
            threading.Thread(target=pump, daemon=True).start()

    @property
    def errors(self) -> list[str]:
        """What kcat wrote to standard error so far, by line."""
        return list(self._errors)

    def read(self, count: int, timeout_s: float) -> list[Received]:
        """Up to `count` records, fewer when the time is over."""
        records: list[Received] = []
        deadline = Deadline(timeout_s)
        while len(records) < count:
            try:
                records.append(_received(json.loads(self._lines.get(timeout=deadline.remaining))))
            except queue.Empty:
                break
        return records

    def read_some(self, timeout_s: float) -> list[Received]:
        """The records that are there; waits up to `timeout_s` for the first."""
        records = self.read(1, timeout_s)
        while not self._lines.empty():
            records += self.read(1, 0)
        return records

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _pump_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def _pump_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line.rstrip())


class _Reader(Reader):
    def __init__(self, base: Sequence[str], topic: str, partition: int, offset: int) -> None:
        start = STARTS.get(offset, str(offset))
        self._lines = JsonLines(
            [*base, "-C", "-E", "-u", "-J", "-t", topic, "-p", str(partition), "-o", start]
        )

    def read(self, count: int, timeout_s: float) -> list[Received]:
        return self._lines.read(count, timeout_s)

    def close(self) -> None:
        self._lines.close()


def _received(line: Mapping[str, Any]) -> Received:
    flat: list[str] = line.get("headers", [])
    pairs = zip(flat[::2], flat[1::2], strict=True)
    headers = tuple((name, _bytes(value)) for name, value in pairs)
    return Received(
        line["partition"], line["offset"], line["ts"], _bytes(line["key"]), _bytes(line["payload"]), headers
    )


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _version(program: str) -> str:
    done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10, check=True)
    words = (done.stdout + done.stderr).split()
    return f"{words[words.index('Version') + 1]} (librdkafka {words[words.index('librdkafka') + 1]})"
