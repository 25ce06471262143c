"""The differences that are no fault, each with its reason. All else that differs is a fault of pybroker."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from interop.differential.compare import PRODUCER_ID, Correspondence, FieldDifference
from interop.differential.plain import Plain
from pybroker.protocol.message_classes import Message
from pybroker.protocol.messages import (
    AlterConfigsRequest,
    JoinGroupRequest,
    OffsetFetchRequest,
    ProduceRequest,
)

Judge = Callable[[Plain, Plain, Correspondence], bool]


class Rule(Struct, frozen=True):
    """Fields that may differ: ``api``, ``path``, ``label`` (of the request), ``element`` match in whole."""

    api: str
    path: str
    is_fine: Judge
    reason: str
    label: str = ".*"
    element: str = ".*"

    def covers(self, api: str, label: str, difference: FieldDifference, known: Correspondence) -> bool:
        return (
            re.fullmatch(self.api, api) is not None
            and re.fullmatch(self.path, difference.pattern) is not None
            and re.fullmatch(self.label, label, re.DOTALL) is not None
            and re.fullmatch(self.element, difference.element) is not None
            and self.is_fine(difference.apache, difference.pybroker, known)
        )


def _id(kind: str, *never: Any) -> Judge:
    """Both chose an id, always the same one for the same thing; ``never`` are values that are no ids."""

    def judge(apache: Plain, pybroker: Plain, known: Correspondence) -> bool:
        return apache not in never and pybroker not in never and known.holds(kind, apache, pybroker)

    return judge


def _both_positive(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return all(isinstance(time, int) and time > 0 for time in (apache, pybroker))


def _forgotten_start(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return isinstance(apache, int) and apache > 0 and pybroker == -1


def _any(_apache: Plain, _pybroker: Plain, _known: Correspondence) -> bool:
    return True


def _kafka_more(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return isinstance(apache, int) and pybroker == 0


def _kafka_silent(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return apache is None and bool(pybroker)


UNREADABLE = b"\xff" * 80


def hangs_in_kafka(request: Message) -> bool:
    """Whether Apache Kafka 3.9 never answers this request: it fails, and fails again in saying so."""
    match request:
        case ProduceRequest():
            return any(data.records is None for topic in request.topic_data for data in topic.partition_data)
        case AlterConfigsRequest():
            named = [(resource.resource_type, resource.resource_name) for resource in request.resources]
            return len(set(named)) < len(named)
        case OffsetFetchRequest():
            return not request.group_id and not request.groups
        case JoinGroupRequest():
            # One does not hang in truth, but waits for as long as a rebalance may take; both do.
            names = [protocol.name for protocol in request.protocols]
            return len(set(names)) < len(names) or any(
                bytes(protocol.metadata) == UNREADABLE for protocol in request.protocols
            )
    return False


UNKNOWN_SERVER_ERROR = -1


def _tripped(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return apache == UNKNOWN_SERVER_ERROR and isinstance(pybroker, int) and pybroker > 0


def _kafka_hangs(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return apache == "TimedOut" and isinstance(pybroker, dict)


def _kafka_never_answers(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return apache == "TimedOut" and "'error_code': 87" in str(pybroker)


def _values(expected_apache: Plain, expected_pybroker: Plain) -> Judge:
    """Exactly these two."""
    return lambda apache, pybroker, _known: (apache, pybroker) == (expected_apache, expected_pybroker)


def _values_like(expected_apache: Plain, kind: type) -> Judge:
    return lambda apache, pybroker, _known: apache == expected_apache and isinstance(pybroker, kind)


def _old_messages_cut(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    """Both have some; what both have is compared one by one. Old messages are known by their keys."""
    return bool(apache and pybroker) and all(isinstance(name, tuple) for name in apache + pybroker)


def _same_but_for_now(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    """The same words, with bounds [a, b] of other times."""
    said = [re.sub(r"\[-?\d+, -?\d+\]", "[]", str(words)) for words in (apache, pybroker)]
    return said[0] == said[1]


def _prints_a_java_object(apache: Plain, pybroker: Plain, _known: Correspondence) -> bool:
    return "DefaultRecord(" in str(apache) and str(pybroker).startswith("Invalid timestamp type")


NO_UUID = "00" * 16
RULES: tuple[Rule, ...] = (
    Rule(".*", r"(.*\.)?topic_id", _id("topic id", NO_UUID), "topic ids are random"),
    Rule(".*", r"(.*\.)?cluster_id", _id("cluster", None), "cluster ids are random"),
    Rule(".*", r"(.*\.)?port", _id("port", -1), "each listens on its own port"),
    Rule("JoinGroup|SyncGroup|LeaveGroup|DescribeGroups", r"leader|(.*\.)?member_id", _id("member", "", None),
         "member ids are random"),
    Rule("DescribeLogDirs", r"results\.log_dir", _any, "each has its own folder"),
    Rule("DescribeLogDirs", r"results\.(usable|total)_bytes", _both_positive, "the disk is in use meanwhile"),
    Rule("DescribeLogDirs", r"results\.topics\.partitions\.partition_size", _both_positive,
         "pybroker writes what it knows of transactions as Kafka 4 does (values of version 1)",
         element=r"(.*/)?__transaction_state/\d"),
    Rule("DescribeConfigs", r".*\.documentation", _any, "pybroker explains keys in its own words"),
    Rule("AlterConfigs", "", _kafka_hangs,
         "Kafka fails within its own error handling when a resource is named twice and never answers; "
         "pybroker answers INVALID_REQUEST"),
    Rule(".*", r"(.*\.)?error_code", _tripped,
         "Kafka trips over an exception of its own and answers UNKNOWN_SERVER_ERROR; pybroker names a code"),
    Rule("ListGroups", r"groups\.group_state", _values("PreparingRebalance", "CompletingRebalance"),
         "Kafka stops half-way in the rebalance of a member whose subscription it cannot read"),
    Rule("InitProducerId|Fetch|DescribeProducers|DescribeTransactions|ListTransactions",
         r"(.*\.)?producer_id", _id(PRODUCER_ID, -1),
         "producer ids come from blocks that each counts by itself"),
    Rule("Fetch", r".*\.left_over_bytes", _kafka_more,
         "Kafka cuts a reply in the middle of a batch, and pads what it converts to old formats with bytes "
         "that look like a cut message; consumers drop both; pybroker ends with a whole batch"),
    Rule(".*", r"(.*\.)?error_message", _kafka_silent,
         "pybroker says in words what is wrong where Kafka leaves error_message null"),
    Rule("Produce", "", _kafka_never_answers,
         "Kafka fails within its own error handling on null records and leaves the producer waiting for "
         "ever; pybroker answers INVALID_RECORD"),
    Rule("Produce", r"responses\.partition_responses\.(error_code|base_offset|log_append_time_ms)", _any,
         "pybroker looks inside of records when pybroker.record.validation is full or the topic needs it",
         label="trusted-v.*"),
    Rule("Fetch", r".*\.batches\.length", _old_messages_cut,
         "how many messages of old formats fit into a reply: consumers ask for the rest"),
    Rule("Fetch", "", _values_like("Closed", dict),
         "Kafka cannot convert records whose offsets are broken, and closes the connection",
         label="read all of produce-.*"),
    Rule("Fetch", ".*", _any,
         "Kafka finds the cache of a session by arithmetic that fails for the largest and smallest id",
         label=r".*: session_id=(2147483647|-2147483648)"),
    Rule("JoinGroup", "", _kafka_hangs,
         "Kafka fails half-way when it cannot read a subscription, and leaves the member waiting",
         label=r".*: protocols\.metadata=.*"),
    Rule("OffsetFetch", "", _kafka_hangs, "Kafka never answers a question for no group at all",
         label=r".*: groups=\[\]"),
    Rule("OffsetCommit", r"topics\.partitions\.length", _any,
         "version 0 of Kafka's answer names a partition as often as the request; pybroker's once",
         label=r".*: topics(\.partitions)?=\[2 elements\]"),
    Rule("IncrementalAlterConfigs|AlterConfigs", r"responses\.error_(code|message)", _any,
         "Kafka blames the value, because ZooKeeper refuses a path with the topic's name; pybroker the topic",
         label=r".*: resources\.resource_name='\.'"),
    Rule("Fetch", "session_id", _id("fetch session", 0), "fetch session ids are random"),
    Rule("Produce", r".*\.log_append_time_ms", _both_positive, "append time is the clock's"),
    Rule("Fetch|ListOffsets", r".*timestamp", _both_positive, "append time is the clock's",
         label=".*append.time.*"),
    Rule("Fetch|DescribeProducers|DescribeTransactions", r".*(timestamp|start_time_ms)", _both_positive,
         "markers, and the time at which a transaction began, are the clock's", label="txn .*"),
    Rule("DescribeTransactions", r".*transaction_start_time_ms", _forgotten_start,
         "Kafka 3.9 tells when the last transaction began even after another producer came; 4 does not",
         label="txn .*"),
    Rule("Fetch", r".*\.batches\.max_timestamp", _both_positive,
         "pybroker trusts the largest timestamp in a header unless pybroker.record.validation is full",
         label="read all of .*"),
    Rule("ApiVersions", r"api_keys(\..*)?|(supported|finalized)_features.*", _any,
         "pybroker serves APIs and versions of Kafka 4 too, and not yet all of 3.9"),
    Rule("Produce", r".*\.batch_index_error_message", _same_but_for_now,
         "the bounds of a timestamp are told around the broker's own time"),
    Rule("Produce", r".*\.batch_index_error_message", _prints_a_java_object,
         "Kafka's words hold a Java object's own text"),
    Rule("Fetch", r"error_code|responses\.length", _any,
         "Kafka fails with UNKNOWN_SERVER_ERROR on a topic id of zeros; pybroker answers UNKNOWN_TOPIC_ID",
         label="zero id|.*topic_id=b.*"),
    Rule(r"\(frames\)", "", _values("Replied", "Closed"),
         "pybroker refuses strings that are not UTF-8, Kafka replaces what it cannot read",
         label="client id that is not UTF-8"),
)  # fmt: skip


def split(
    api: str, label: str, found: Iterable[FieldDifference], known: Correspondence
) -> tuple[list[FieldDifference], list[str]]:
    """The differences that no rule covers, and the reasons of those that one does."""
    left, reasons = [], []
    for difference in found:
        reason = next((rule.reason for rule in RULES if rule.covers(api, label, difference, known)), None)
        if reason is None:
            left.append(difference)
        else:
            reasons.append(reason)
    return left, reasons
