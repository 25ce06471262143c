"""kcat -G behind the client port; what kcat has no options for is done by librdkafka's Python binding."""

import re
from collections.abc import Mapping

from interop.kcat.client import JsonLines, Kcat
from interop.librdkafka.client import Librdkafka
from interop.support.client import GroupMember, GroupSettings, Received
from interop.support.waiting import wait_until

ASSIGNORS = {"range": "range", "roundrobin": "roundrobin", "cooperative": "cooperative-sticky"}
_REBALANCED = re.compile(r"% Group \S+ rebalanced.*?\): (.*)")
_PARTITION = re.compile(r"(\S+) \[(\d+)\]")


class KcatGroups(Librdkafka):
    """Members are kcat processes; topics, records and questions are the binding's."""

    name = Kcat.name
    traits = Kcat.traits
    strategies = tuple(ASSIGNORS)
    faulty_strategies: Mapping[str, str] = {}

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        kcat = Kcat(bootstrap)
        self.version = kcat.version
        self._command = kcat.command

    def member(self, settings: GroupSettings) -> GroupMember:
        return _Member(self, self._command, settings)


class _Member(GroupMember):
    """kcat commits by itself, some times a second, what it has printed."""

    def __init__(self, client: KcatGroups, base: list[str], settings: GroupSettings) -> None:
        config = {
            "partition.assignment.strategy": ASSIGNORS[settings.strategy],
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": "100",
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "500",
            "topic.metadata.refresh.interval.ms": "1000",
        }
        if settings.instance_id is not None:
            config["group.instance.id"] = settings.instance_id
        command = [*base, "-G", settings.group, "-J", "-u", "-E"]
        for key, value in config.items():
            command += ["-X", f"{key}={value}"]
        self._client = client
        self._settings = settings
        self._lines = JsonLines([*command, *settings.topics])
        self._positions: dict[int, int] = {}

    def poll(self, timeout_s: float) -> list[Received]:
        records = self._lines.read_some(timeout_s)
        for record in records:
            self._positions[record.partition] = record.offset + 1
        return records

    def assignment(self) -> frozenset[tuple[str, int]]:
        """What kcat's messages about rebalances add up to."""
        owned: set[tuple[str, int]] = set()
        for line in self._lines.errors:
            if (match := _REBALANCED.fullmatch(line)) is None:
                continue
            partitions = {(topic, int(number)) for topic, number in _PARTITION.findall(match[1])}
            if " revoke" in line:
                owned -= partitions
            else:
                owned |= partitions
        return frozenset(owned)

    def commit(self) -> None:
        topic = self._settings.topics[0]
        for partition, offset in self._positions.items():
            wait_until(
                lambda partition=partition, offset=offset: (  # type: ignore[misc]
                    (self._client.committed(self._settings.group, topic, partition) or 0) >= offset
                ),
                f"kcat's commit of {offset} in partition {partition}",
            )

    def close(self) -> None:
        self._lines.close()
