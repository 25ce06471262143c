"""The journal: what clients asked and what they were told, decoded, for tests to look at and to wait for."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

import trio

from pybroker.instruments import subjects
from pybroker.instruments.plain import plain_message
from pybroker.instruments.seams import Answer
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import BrokerId
from pybroker.model.values import State, Value
from pybroker.protocol.apis import api_by_key

DEFAULT_ENTRIES = 10_000
DEFAULT_BYTES = 64 << 20


class Status(Enum):
    """What became of a request."""

    WAITING = "waiting"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    """It has no reply, or the reply was dropped."""
    CLOSED = "closed"
    """The connection ended instead of an answer."""


class Entry(State):
    """One request. The Journal alone writes it; ``request`` and ``response`` are plain data.

    Attributes:
        number: grows by one with every request of all brokers.
        time_ms: broker time when it arrived.
        errors: names of the error codes anywhere in the response.
        took_ms: real time until the answer.
    """

    number: int
    time_ms: int
    broker_id: BrokerId
    connection: str
    client_id: str
    api: str
    version: int
    correlation_id: int
    topics: tuple[str, ...]
    groups: tuple[str, ...]
    request: dict[str, Any]
    status: Status = Status.WAITING
    response: dict[str, Any] | None = None
    errors: tuple[str, ...] = ()
    took_ms: float | None = None


class Wanted(Value, kw_only=True):
    """Which entries are meant; what is None does not matter. ``topic``, ``group`` and ``client_id`` are
    patterns with ``*`` and ``?``; ``error`` is a name, ``after`` the number of an entry (exclusive)."""

    api: str | None = None
    topic: str | None = None
    group: str | None = None
    client_id: str | None = None
    broker: BrokerId | None = None
    error: str | None = None
    status: Status | None = None
    after: int = 0

    def fits(self, entry: Entry) -> bool:
        return (
            entry.number > self.after
            and (self.api is None or entry.api.lower() == self.api.lower())
            and (self.broker is None or entry.broker_id == self.broker)
            and (self.status is None or entry.status is self.status)
            and (self.error is None or self.error.upper() in entry.errors)
            and (self.client_id is None or fnmatchcase(entry.client_id, self.client_id))
            and _any_like(self.topic, entry.topics)
            and _any_like(self.group, entry.groups)
        )


def _any_like(pattern: str | None, names: tuple[str, ...]) -> bool:
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


class Journal:
    """The latest requests of a cluster's brokers, within bounds. Only the trio thread uses it.

    Args:
        now_ms: broker time.
        max_entries, max_bytes: beyond either the oldest entries go; bytes are those of the entries as JSON.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        max_entries: int = DEFAULT_ENTRIES,
        max_bytes: int = DEFAULT_BYTES,
    ) -> None:
        self._now_ms = now_ms
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._last_number = 0
        self._news = trio.Event()

    @property
    def last_number(self) -> int:
        """The number of the latest entry; 0 before the first. As ``after`` it leaves only what follows."""
        return self._last_number

    def entries(self, wanted: Wanted = Wanted()) -> list[Entry]:  # noqa: B008  (a value)
        """The entries that are meant, oldest first."""
        return [entry for entry in self._entries if wanted.fits(entry)]

    async def wait_for(self, wanted: Wanted, count: int = 1) -> list[Entry]:
        """The entries that are meant, once there are ``count`` of them and each has got its answer or will
        never have one."""
        while True:
            news = self._news
            found = [entry for entry in self.entries(wanted) if entry.status is not Status.WAITING]
            if len(found) >= count:
                return found
            await news.wait()

    def clear(self) -> None:
        """Forgets all entries; the numbers go on."""
        self._entries.clear()
        self._sizes.clear()
        self._bytes = 0

    def seam(self, broker_id: BrokerId) -> "JournalSeam":
        """The seam of one broker's dispatch."""
        return JournalSeam(self, broker_id)

    def begin(self, broker_id: BrokerId, context: Any, request: Any) -> Entry:
        """Notes a request that has arrived."""
        api = api_by_key[context.api_key]
        names = context.image.topic_names_by_id.get
        parts = subjects.parts_of(api, request, names)
        self._last_number += 1
        entry = Entry(
            number=self._last_number,
            time_ms=self._now_ms(),
            broker_id=broker_id,
            connection=context.connection_id,
            client_id=context.client_id or "",
            api=api.name,
            version=context.api_version,
            correlation_id=context.correlation_id,
            topics=tuple(dict.fromkeys(part.topic for part in parts if part.topic is not None)),
            groups=tuple(subjects.groups_of(api, request)),
            request=plain_message(request),
        )
        size = len(json.dumps(entry.request))
        self._entries.append(entry)
        self._sizes.append(size)
        self._bytes += size
        self._forget_oldest()
        self._tell()
        return entry

    def end(self, entry: Entry, status: Status, response: Any, took_ms: float) -> None:
        """Notes what became of it."""
        entry.status = status
        entry.took_ms = took_ms
        if response is not None:
            entry.response = plain_message(response)
            entry.errors = tuple(dict.fromkeys(_errors(entry.response)))
        self._tell()

    def _forget_oldest(self) -> None:
        while len(self._entries) > self._max_entries or (self._bytes > self._max_bytes and self._entries):
            self._entries.popleft()
            self._bytes -= self._sizes.popleft()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


class JournalSeam:
    """Notes the requests of one broker."""

    def __init__(self, journal: Journal, broker_id: BrokerId) -> None:
        self._journal = journal
        self._broker_id = broker_id

    async def __call__(self, context: Any, request: Any, answer: Answer, /) -> Any:
        entry = self._journal.begin(self._broker_id, context, request)
        started_s = time.perf_counter()
        status, response = Status.CLOSED, None
        try:
            response = await answer(request)
            status = Status.UNANSWERED if response is None else Status.ANSWERED
        finally:
            self._journal.end(entry, status, response, (time.perf_counter() - started_s) * 1000)
        return response


def _errors(plain: Any) -> Iterator[str]:
    if isinstance(plain, dict):
        for name, value in plain.items():
            if name.endswith("error_code") and value:
                yield ErrorCode(value).name
            else:
                yield from _errors(value)
    elif isinstance(plain, list):
        for item in plain:
            yield from _errors(item)


def describe(entry: Entry) -> str:
    """One line for people."""
    when = datetime.fromtimestamp(entry.time_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    named = (*entry.topics[:5], *entry.groups[:5])
    about = f" [{' '.join(named)}]" if named else ""
    outcome = " ".join(entry.errors) or ("ok" if entry.status is Status.ANSWERED else entry.status.value)
    took = "" if entry.took_ms is None else f" ({entry.took_ms:.1f} ms)"
    return (
        f"{entry.number:>5} {when} broker {entry.broker_id} <- {entry.client_id or '(no client id)'}: "
        f"{entry.api} v{entry.version}{about} -> {outcome}{took}"
    )
