"""The differences that are no fault, each with its reason. All else that differs is a fault of pybroker."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field, frozen

from interop.differential.compare import FieldDifference
from interop.differential.plain import Plain

Judge = Callable[[Plain, Plain, "Correspondence"], bool]


@define
class Correspondence:
    """Which value of pybroker stands for which of Apache Kafka: one for one, for the length of a run."""

    _pairs: dict[str, tuple[dict[Any, Any], dict[Any, Any]]] = field(factory=dict)

    def holds(self, kind: str, apache: Any, pybroker: Any) -> bool:
        """Whether the two stand for each other; learned when neither has been seen."""
        forth, back = self._pairs.setdefault(kind, ({}, {}))
        return bool(
            forth.setdefault(apache, pybroker) == pybroker and back.setdefault(pybroker, apache) == apache
        )


@frozen
class Rule:
    """Fields that may differ: ``api`` and ``path`` are whole regular expressions."""

    api: str
    path: str
    is_fine: Judge
    reason: str

    def covers(self, api: str, difference: FieldDifference, known: Correspondence) -> bool:
        return (
            re.fullmatch(self.api, api) is not None
            and re.fullmatch(self.path, difference.pattern) is not None
            and self.is_fine(difference.apache, difference.pybroker, known)
        )


def _id(kind: str, *never: Any) -> Judge:
    """Both chose an id, always the same one for the same thing; ``never`` are values that are no ids."""

    def judge(apache: Plain, pybroker: Plain, known: Correspondence) -> bool:
        return apache not in never and pybroker not in never and known.holds(kind, apache, pybroker)

    return judge


def _both_positive(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return all(isinstance(time, int) and time > 0 for time in (apache, pybroker))


def _any(_apache: Plain, _pybroker: Plain, _known: Correspondence) -> bool:
    return True


def _names_more(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return isinstance(apache, list) and isinstance(pybroker, list)


NO_UUID = "00" * 16
RULES: tuple[Rule, ...] = (
    Rule(".*", r"(.*\.)?topic_id", _id("topic id", NO_UUID), "topic ids are random"),
    Rule(".*", r"(.*\.)?cluster_id", _id("cluster", None), "cluster ids are random"),
    Rule(".*", r"(.*\.)?port", _id("port", -1), "each listens on its own port"),
    Rule("InitProducerId|Fetch|DescribeProducers", r"(.*\.)?producer_id", _id("producer id", -1),
         "producer ids come from blocks that each counts by itself"),
    Rule("Fetch", "session_id", _id("fetch session", 0), "fetch session ids are random"),
    Rule("Produce", r".*\.log_append_time_ms", _both_positive, "append time is the clock's"),
    Rule("Fetch|ListOffsets", r"(.*records\.)?(.*\.)?(base_|max_)?timestamp", _both_positive,
         "append time is the clock's (topics with LogAppendTime only: others carry the client's)"),
    Rule("ApiVersions", "api_keys|supported_features|finalized_features.*", _names_more,
         "pybroker serves APIs and versions of Kafka 4 too, and not yet all of 3.9"),
)  # fmt: skip


def split(
    api: str, found: Iterable[FieldDifference], known: Correspondence
) -> tuple[list[FieldDifference], list[str]]:
    """The differences that no rule covers, and the reasons of those that one does."""
    left, reasons = [], []
    for difference in found:
        reason = next((rule.reason for rule in RULES if rule.covers(api, difference, known)), None)
        if reason is None:
            left.append(difference)
        else:
            reasons.append(reason)
    return left, reasons
