"""Asks both servers the same, one request after another, and notes what differs."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from interop.differential.allowed import hangs_in_kafka, split
from interop.differential.compare import Correspondence, FieldDifference, differences
from interop.differential.frames import API_OF, Twist, request_frame
from interop.differential.plain import Plain, plain_reply
from interop.differential.refs import Values, resolve
from interop.differential.wire import CLIENT_ID, Connection, Outcome, Replied
from pybroker.protocol.apis import ApiSpec
from pybroker.protocol.codec import decode, decode_exactly
from pybroker.protocol.errors import MalformedMessage
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import ResponseHeader

SERVERS = ("apache", "pybroker")
REPLY_TIMEOUT_S = 15.0
HANGING_TIMEOUT_S = 2.0
PROGRESS_EVERY = 100


class Finding(Struct, frozen=True):
    """One request that the two answered differently."""

    scenario: str
    api: str
    version: int
    label: str
    request: str
    apache: Plain
    pybroker: Plain
    fields: tuple[FieldDifference, ...]


class Side(Struct):
    """One of the two servers: its connections, and the values that only it knows."""

    name: str
    port: int
    values: Values = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """The texts that only this server knows, such as member ids, and what a scenario calls them."""
        return {value: f"<{name}>" for name, value in self.values.items() if isinstance(value, str) and value}

    def connection(self, name: str) -> Connection:
        if name not in self.connections:
            self.connections[name] = Connection(self.port, REPLY_TIMEOUT_S)
        return self.connections[name]


class Tally(Struct):
    """What was asked, by (API, version)."""

    asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: Counter[tuple[str, int]] = field(default_factory=Counter)
    different: Counter[tuple[str, int]] = field(default_factory=Counter)
    allowed: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.asked.total()


class Pair(Struct):
    """The two servers. A scenario asks; what it gets back are both replies, None where there was none."""

    apache: Side
    pybroker: Side
    versions: Mapping[int, range]
    """Versions that both serve, by API key."""
    tally: Tally = field(default_factory=Tally)
    known: Correspondence = field(default_factory=Correspondence)
    scenario: str = ""
    started_s: float = field(default_factory=time.monotonic)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.apache, self.pybroker

    def ask(
        self,
        label: str,
        message: Message,
        version: int,
        *,
        wrong: bool = False,
        twist: Twist | None = None,
        client_id: str | None = CLIENT_ID,
        connection: str = "main",
        capture: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> tuple[Any, Any]:
        """Send a request to both, compare what becomes of it, keep what ``capture`` finds in the replies."""
        self.send(message, version, twist=twist, client_id=client_id, connection=connection)
        return self.receive(label, message, version, wrong=wrong, connection=connection, capture=capture)

    def send(
        self,
        message: Message,
        version: int,
        *,
        twist: Twist | None = None,
        client_id: str | None = CLIENT_ID,
        connection: str = "main",
    ) -> None:
        """Send without waiting: `receive` must follow for each, in the same order."""
        for side in self.sides:
            frame = request_frame(resolve(message, side.values), version, twist, client_id)
            side.connection(connection).send(frame)

    def receive(
        self,
        label: str,
        message: Message,
        version: int,
        *,
        wrong: bool = False,
        connection: str = "main",
        capture: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> tuple[Any, Any]:
        api = API_OF[type(message)]
        timeout_s = HANGING_TIMEOUT_S if hangs_in_kafka(message) else REPLY_TIMEOUT_S
        outcomes = [side.connection(connection).receive(timeout_s) for side in self.sides]
        replies = [_read(api, version, outcome) for outcome in outcomes]
        for side, reply in zip(self.sides, replies, strict=True):
            if isinstance(reply, Message):
                side.values.update({name: find(reply) for name, find in (capture or {}).items()})
        self._note(api.name, version, label, message, replies, wrong=wrong)
        return tuple(reply if isinstance(reply, Message) else None for reply in replies)  # type: ignore[return-value]

    def ask_raw(self, label: str, frame: bytes, *, is_complete: bool = True) -> None:
        """Send bytes that are no request; only what becomes of the connection is compared."""
        outcomes = []
        for side in self.sides:
            connection = Connection(side.port, 3.0)
            connection.send(frame, is_complete=is_complete)
            outcomes.append(connection.receive())
            connection.close()
        self._note(
            "(frames)", 0, label, frame.hex(), [_described(outcome) for outcome in outcomes], wrong=True
        )

    def abandoned(self, missing: str) -> None:
        """A scenario could not go on, because a reply did not bring what it needs."""
        self._note("(scenarios)", 0, "abandoned", missing, ["needed", missing], wrong=False)

    def hang_up(self, connection: str = "main") -> None:
        """Close a connection on our side; the next request on it opens another."""
        for side in self.sides:
            side.connection(connection).close()

    def _note(
        self, api: str, version: int, label: str, request: Any, replies: list[Any], *, wrong: bool
    ) -> None:
        apache, pybroker = (
            _with_names(plain_reply(reply, version), side.names) if isinstance(reply, Message) else reply
            for reply, side in zip(replies, self.sides, strict=True)
        )
        fields, reasons = split(api, label, differences(apache, pybroker, self.known), self.known)
        row = (api, version)
        self.tally.asked[row] += 1
        self.tally.wrong[row] += wrong
        self.tally.allowed.update(set(reasons))
        if fields:
            self.tally.different[row] += 1
            self.tally.findings.append(
                Finding(self.scenario, api, version, label, _brief(request), apache, pybroker, tuple(fields))
            )
        if self.tally.total % PROGRESS_EVERY == 0:
            self._show_progress(api, version)

    def _show_progress(self, api: str, version: int) -> None:
        tally = self.tally
        seconds = time.monotonic() - self.started_s
        print(
            f"{seconds:6.1f} s  {tally.total:5} requests  {len(tally.findings):4} different"
            f"  now {self.scenario}: {api} v{version}",
            file=sys.stderr,
            flush=True,
        )


def _with_names(value: Plain, names: Mapping[str, str]) -> Plain:
    match value:
        case dict():
            return {name: _with_names(element, names) for name, element in value.items()}
        case list():
            return [_with_names(element, names) for element in value]
        case str():
            return names.get(value, value)
    return value


def _read(api: ApiSpec, version: int, outcome: Outcome) -> Any:
    """The reply as a message; a text that says what else happened."""
    if not isinstance(outcome, Replied):
        return _described(outcome)
    try:
        _, start = decode(ResponseHeader, api.response_header_version(version), outcome.frame)
        return decode_exactly(api.response, version, outcome.frame[start:])
    except MalformedMessage as error:
        return _unusual_reply(api, outcome.frame, str(error))


def _unusual_reply(api: ApiSpec, frame: bytes, why: str) -> Any:
    """ApiVersions of a version that is not served is answered in version 0; all else is unreadable."""
    if api.name == "ApiVersions":
        return plain_reply(decode_exactly(api.response, 0, frame[4:]), 0)
    return f"unreadable: {why}"


def _described(outcome: Outcome) -> str:
    return type(outcome).__name__


def _brief(request: Any) -> str:
    text = request if isinstance(request, str) else repr(request)
    return text if len(text) <= 1500 else f"{text[:1500]}…"
