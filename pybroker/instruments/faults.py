"""Fault rules: chosen requests fail, wait or stay unanswered, in the ways of real brokers and networks.

A :class:`FaultRule` is a value that says which requests, what happens, and how often. :class:`Faults` keeps
the rules of all brokers of a cluster, and is the seam that carries them out.
"""

import difflib
import random
from collections.abc import Callable, Iterable
from copy import copy
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

import trio

from pybroker.instruments import subjects
from pybroker.instruments.seams import Answer
from pybroker.model.errors import CloseConnection, ErrorCode
from pybroker.model.ids import BrokerId, TopicId
from pybroker.model.values import Value
from pybroker.protocol.apis import ApiSpec, api_by_key
from pybroker.protocol.error_replies import TakenItems, error_response, take_items
from pybroker.protocol.messages import FetchRequest

FETCH = 1
_API_NAMES = {api.name.lower(): api for api in api_by_key.values()}


class InvalidFault(ValueError):
    """A rule that says nothing, contradicts itself or can never match. The message names the remedy."""


class Action(Enum):
    """What can happen to a request besides an error and a delay."""

    IGNORE = "ignore"
    """It is not executed and never answered; the next ones of the connection are."""
    DROP_REPLY = "drop_reply"
    """It is executed and never answered."""
    CLOSE = "close"
    """The connection is closed; with ``after`` the request was executed."""
    HALF_OPEN = "half_open"
    """From here on nothing of the connection is read or answered, and it stays open."""


class FaultRule(Value, kw_only=True):
    """Which requests fail, how, and how often. Patterns have ``*`` and ``?``.

    Attributes:
        api: names of APIs, as ``Produce``; empty: all.
        broker: only requests to this broker.
        topic, group, transactional_id: only requests that name such a one (patterns).
        partition: only requests that name this partition.
        client_id, connection: only requests of such clients (patterns); a connection is known by what the
            journal shows.
        error: name of an error code. With ``topic``, ``partition`` or ``group`` only those items of the
            request fail, where the API answers item by item; without, the request as a whole does.
        action: see :class:`Action`.
        delay_ms: real time to wait first.
        throttle_ms: what the reply says that the client was throttled for.
        after: the request is executed first; the client is only told otherwise.
        times: how often it happens; None: every time.
        on_call: from which matching request on it happens; 1 is the first.
        probability: of each matching request from there on, above 0 and at most 1.
        seed: makes the probability repeatable.
    """

    api: tuple[str, ...] = ()
    broker: BrokerId | None = None
    topic: str | None = None
    partition: int | None = None
    group: str | None = None
    transactional_id: str | None = None
    client_id: str | None = None
    connection: str | None = None
    error: str | None = None
    action: Action | None = None
    delay_ms: int = 0
    throttle_ms: int = 0
    after: bool = False
    times: int | None = 1
    on_call: int = 1
    probability: float = 1.0
    seed: int = 0


def find_api(name: str) -> ApiSpec:
    """An API by its name in Kafka's protocol, in any case.

    Raises:
        InvalidFault: there is none; the message names close ones.
    """
    api = _API_NAMES.get(name.lower())
    if api is None:
        known = [each.name for each in api_by_key.values()]
        raise InvalidFault(f"there is no API {name!r}{_close(name, known)}")
    return api


def find_error(name: str) -> ErrorCode:
    """An error code by its name.

    Raises:
        InvalidFault: there is none; the message names close ones.
    """
    try:
        return ErrorCode[name.upper()]
    except KeyError:
        raise InvalidFault(
            f"there is no error {name!r}{_close(name.upper(), ErrorCode.__members__)}"
        ) from None


def _close(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else f"; known are {', '.join(known)}"


def check(rule: FaultRule, brokers: Iterable[BrokerId]) -> tuple[ApiSpec, ...]:
    """The APIs that a rule is for; empty: all.

    Raises:
        InvalidFault: see there.
    """
    apis = tuple(find_api(name) for name in rule.api)
    brokers = sorted(brokers)
    if not (rule.error or rule.action or rule.delay_ms or rule.throttle_ms):
        raise InvalidFault("the rule does nothing: give an error, an action, delay_ms or throttle_ms")
    if rule.error is not None:
        if find_error(rule.error) is ErrorCode.NONE:
            raise InvalidFault("NONE is no error")
        if rule.action is not None:
            raise InvalidFault(f"an error is an answer, and {rule.action.value} gives none: choose one")
    if rule.broker is not None and rule.broker not in brokers:
        raise InvalidFault(f"there is no broker {rule.broker}; there are {', '.join(map(str, brokers))}")
    for name, least in (("delay_ms", 0), ("throttle_ms", 0), ("on_call", 1), ("partition", 0), ("times", 1)):
        value = getattr(rule, name)
        if value is not None and value < least:
            raise InvalidFault(f"{name} is {value}, and must be at least {least}")
    if not 0 < rule.probability <= 1:
        raise InvalidFault(f"probability is {rule.probability}, and must be above 0 and at most 1")
    for api in apis:
        _check_matchable(rule, api)
    return apis


def _check_matchable(rule: FaultRule, api: ApiSpec) -> None:
    def refuse(field: str, reason: str) -> None:
        raise InvalidFault(f"the rule can never match: {field} is given, and {api.name} {reason}")

    if rule.topic is not None and not subjects.topic_lists(api):
        refuse("topic", "names no topics that it answers one by one")
    if rule.partition is not None and not subjects.has_partitions(api):
        refuse("partition", "names no partitions that it answers one by one")
    if rule.group is not None and not subjects.names_groups(api):
        refuse("group", "names no groups")
    if rule.transactional_id is not None and not subjects.names_transactions(api):
        refuse("transactional_id", "names no transactional ids")


class ActiveRule:
    """A rule at work, and what it did. Written by :class:`Faults` only.

    Attributes:
        number: by which it is known.
        matched: how many requests it was for.
        fired: how many of them it befell.
    """

    __slots__ = ("_apis", "_random", "fired", "matched", "number", "rule")

    def __init__(self, number: int, rule: FaultRule, apis: Iterable[ApiSpec]) -> None:
        self.number = number
        self.rule = rule
        self.matched = 0
        self.fired = 0
        self._apis = frozenset(api.key for api in apis)
        self._random = random.Random(rule.seed)

    @property
    def is_spent(self) -> bool:
        return self.rule.times is not None and self.fired >= self.rule.times

    def strikes(self, asked: "Asked") -> bool:
        """Counts a request, if it is meant; whether the rule befalls it."""
        if (self._apis and asked.api.key not in self._apis) or not asked.fits(self.rule):
            return False
        self.matched += 1
        rule = self.rule
        if (
            self.is_spent
            or self.matched < rule.on_call
            or (rule.probability < 1 and self._random.random() >= rule.probability)
        ):
            return False
        self.fired += 1
        return True


SessionParts = Callable[[int], Iterable[tuple[TopicId, str, int]]]
"""The partitions of an incremental fetch session: topic id, topic, partition."""


class Asked:
    """A request with what rules look at."""

    def __init__(self, broker_id: BrokerId, context: Any, request: Any, session_parts: SessionParts) -> None:
        self.broker_id = broker_id
        self.context = context
        self.request = request
        self.api = api_by_key[context.api_key]
        self._session_parts = session_parts

    def topic_name(self, topic_id: TopicId) -> str | None:
        found: str | None = self.context.image.topic_names_by_id.get(topic_id)
        return found

    def itemised(self) -> Any:
        """The request with all items that it is about. A fetch request of a session names only what is new:
        then it is another one, with all that the session has."""
        if self.api.key != FETCH or self.request.session_id == 0:
            return self.request
        topics: dict[tuple[TopicId, str], list[Any]] = {}
        named = [
            (topic.topic_id, topic.topic, partition.partition)
            for topic in self.request.topics
            for partition in topic.partitions
        ]
        for topic_id, name, partition in (*self._session_parts(self.request.session_id), *named):
            fetched = topics.setdefault((topic_id, name), [])
            if all(other.partition != partition for other in fetched):
                fetched.append(FetchRequest.FetchPartition(partition=partition))
        return FetchRequest(
            topics=[
                FetchRequest.FetchTopic(topic=name, topic_id=topic_id, partitions=partitions)
                for (topic_id, name), partitions in topics.items()
            ]
        )

    def fits(self, rule: FaultRule) -> bool:
        context = self.context
        if rule.broker not in (None, self.broker_id):
            return False
        if not _like(rule.client_id, (context.client_id or "",)):
            return False
        if not _like(rule.connection, (context.connection_id,)):
            return False
        if not _like(rule.group, subjects.groups_of(self.api, self.request)):
            return False
        if not _like(rule.transactional_id, subjects.transactional_ids_of(self.api, self.request)):
            return False
        if rule.topic is None and rule.partition is None:
            return True
        parts = subjects.parts_of(self.api, self.itemised(), self.topic_name)
        return any(_is_part(rule, part) for part in parts)

    def hits(self, rule: FaultRule, item: Any, inner: Any | None) -> bool:
        """Whether a rule that fits means this item of the request."""
        if rule.group is not None and rule.topic is None and rule.partition is None:
            return _like(rule.group, (subjects.group_of(item),))
        return _is_part(rule, subjects.part_of(item, inner, self.topic_name))


def _like(pattern: str | None, names: Iterable[str]) -> bool:
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


def _is_part(rule: FaultRule, part: subjects.Part) -> bool:
    if rule.partition is not None and part.partition != rule.partition:
        return False
    return rule.topic is None or (part.topic is not None and fnmatchcase(part.topic, rule.topic))


class Faults:
    """The rules of a cluster. One object for all its brokers; the trio thread alone uses it."""

    def __init__(self) -> None:
        self._rules: dict[int, ActiveRule] = {}
        self._last_number = 0

    def add(self, rule: FaultRule, brokers: Iterable[BrokerId]) -> ActiveRule:
        """Obeys a rule from now on; rules are tried in the order in which they were added.

        Raises:
            InvalidFault: see there.
        """
        apis = check(rule, brokers)
        self._last_number += 1
        active = self._rules[self._last_number] = ActiveRule(self._last_number, rule, apis)
        return active

    def remove(self, number: int) -> bool:
        """Forgets a rule; False when it is not there."""
        return self._rules.pop(number, None) is not None

    def clear(self) -> None:
        """Forgets all rules. Requests that one of them holds stay held."""
        self._rules.clear()

    def rules(self) -> tuple[ActiveRule, ...]:
        return tuple(self._rules.values())

    def seam(self, broker_id: BrokerId, session_parts: SessionParts) -> "FaultSeam":
        """The seam of one broker's dispatch."""
        return FaultSeam(self, broker_id, session_parts)


class FaultSeam:
    """Carries out the rules on one broker."""

    def __init__(self, faults: Faults, broker_id: BrokerId, session_parts: SessionParts) -> None:
        self._faults = faults
        self._broker_id = broker_id
        self._session_parts = session_parts

    async def __call__(self, context: Any, request: Any, answer: Answer, /) -> Any:
        if not self._faults._rules:
            return await answer(request)
        asked = Asked(self._broker_id, context, request, self._session_parts)
        struck = [active for active in self._faults.rules() if active.strikes(asked)]
        for active in struck:
            if active.rule.delay_ms:
                await trio.sleep(active.rule.delay_ms / 1000)
        final = next((each for each in struck if each.rule.error or each.rule.action), None)
        response = await (answer(request) if final is None else _befall(asked, final, answer))
        throttled_ms = max((active.rule.throttle_ms for active in struck), default=0)
        if throttled_ms and response is not None and "throttle_time_ms" in response.__slots__:
            response.throttle_time_ms = throttled_ms
        return response


async def _befall(asked: Asked, active: ActiveRule, answer: Answer) -> Any:
    """What is sent for a request that an error or an action befalls."""
    rule = active.rule
    match rule.action:
        case None:
            return await _fail(asked, rule, answer)
        case Action.IGNORE:
            return None
        case Action.DROP_REPLY:
            await answer(asked.request)
            return None
        case Action.CLOSE:
            if rule.after:
                await answer(asked.request)
            raise CloseConnection(f"fault rule {active.number} closes it")
        case Action.HALF_OPEN:
            return await trio.sleep_forever()


async def _fail(asked: Asked, rule: FaultRule, answer: Answer) -> Any:
    assert rule.error is not None
    code = find_error(rule.error)
    version = asked.context.api_version
    taken: TakenItems | None = None
    request = asked.request
    if rule.topic is not None or rule.partition is not None or rule.group is not None:
        itemised = asked.itemised()
        if rule.after and itemised is request:
            itemised = copy(request)  # its lists are cut, and the request is executed whole
        taken = take_items(asked.api, version, itemised, code, lambda *item: asked.hits(rule, *item))
    if not taken:
        whole = error_response(asked.api, version, request, code)
        if rule.after:
            await answer(request)
        if whole is None and getattr(request, "acks", None) != 0:
            raise CloseConnection(f"{asked.api.name} has no reply that could tell {code.name}")
        return whole
    return await _fail_items(asked, rule, taken, answer)


async def _fail_items(asked: Asked, rule: FaultRule, taken: TakenItems, answer: Answer) -> Any:
    request = asked.request
    if asked.api.key == FETCH:
        request.max_wait_ms = 0  # an error of one partition is news: nobody waits for records
    elif taken.is_all and not rule.after:
        if getattr(request, "acks", None) == 0:
            return None
        response = asked.api.response()
        taken.add_to(response)
        return response
    response = await answer(request)
    if response is not None:
        taken.add_to(response)
    return response
