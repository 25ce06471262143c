"""kafka-consumer-groups and the console consumer in a group: list, describe, every reset, delete."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from interop.java.client import JavaClient
from interop.java.tool_output import PARTITIONS, new_name, partition_counts, table
from interop.support.client import GroupSettings
from interop.support.journeys import TIMEOUT_S
from interop.support.servers import Server
from interop.support.tool_runner import KafkaTools, ToolResult
from interop.support.waiting import wait_until

RECORDS = 60


@pytest.fixture
def group(client: KafkaTools, topic: str) -> str:
    """A group without members that has consumed and committed everything of the topic."""
    lines = [f"line {number}" for number in range(RECORDS)]
    produce_keyed(client, topic, lines)
    group = new_name()
    consumed = client.check(
        "kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning",
        "--max-messages", str(RECORDS), "--timeout-ms", "20000",
    )  # fmt: skip
    assert sorted(consumed.lines) == sorted(lines)
    return group


@pytest.fixture
def agent(server: Server) -> Iterator[JavaClient]:
    agent = JavaClient(server.bootstrap, "clients-3.9")
    yield agent
    agent.close()


def test_list(client: KafkaTools, group: str) -> None:
    """--list names the group; --state tells that it is empty."""
    assert group in groups(client, "--list").lines
    rows = {line.split()[0]: line.split()[-1] for line in groups(client, "--list", "--state").lines}
    assert rows[group] == "Empty"


def test_describe(client: KafkaTools, topic: str, group: str) -> None:
    """--describe shows the committed offset, the end and the lag of each partition."""
    ends = partition_counts(client, topic)
    assert offsets(client, group) == ends
    client.check("kafka-console-producer", "--topic", topic, stdin="one more\n")
    assert sum(int(row["LAG"]) for row in describe(client, group)) == 1


def test_describe_members(client: KafkaTools, topic: str, group: str, agent: JavaClient) -> None:
    """--members and --state of a group with a member that has all partitions."""
    member = agent.member(GroupSettings(group, (topic,)))
    try:
        wait_until(lambda: member.poll(0.2) is not None and member.assignment(), "an assignment")
        row = table(groups(client, "--describe", "--group", group, "--members").lines)[0]
        assert (row["GROUP"], row["#PARTITIONS"]) == (group, str(PARTITIONS))
        state = groups(client, "--describe", "--group", group, "--state").lines[1]
        assert "Stable" in state.split()
        assert "range" in state.split()
        reset = ("--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
        refused = groups(client, *reset)
        assert "inactive, but the current state is Stable" in refused.output + refused.errors, str(refused)
        assert offsets(client, group) == partition_counts(client, topic)
        kept = groups(client, "--delete", "--group", group)
        assert "GroupNotEmptyException" in kept.output + kept.errors, str(kept)
    finally:
        member.close()


RESETS: list[tuple[tuple[str, ...], Callable[[int], int]]] = [
    (("--to-earliest",), lambda _end: 0),
    (("--to-latest",), lambda end: end),
    (("--to-current",), lambda end: end),
    (("--to-offset", "3"), lambda end: min(3, end)),
    (("--shift-by", "-2"), lambda end: max(0, end - 2)),
    (("--to-datetime", "2001-01-01T00:00:00.000"), lambda _end: 0),
    (("--by-duration", "P3650D"), lambda _end: 0),
]


@pytest.mark.parametrize(
    ("option", "expected"), [pytest.param(*reset, id=reset[0][0][2:]) for reset in RESETS]
)
def test_reset(
    client: KafkaTools, topic: str, group: str, option: tuple[str, ...], expected: Callable[[int], int]
) -> None:
    """Each kind of reset prints and commits the offsets it should; without --execute nothing changes."""
    ends = partition_counts(client, topic)
    wanted = {partition: expected(end) for partition, end in ends.items()}
    reset = ("--reset-offsets", "--group", group, "--topic", topic, *option)
    assert new_offsets(groups(client, *reset, "--dry-run")) == wanted
    assert offsets(client, group) == ends
    assert new_offsets(groups(client, *reset, "--execute")) == wanted
    assert offsets(client, group) == wanted


def test_reset_to_a_moment(client: KafkaTools, topic: str, group: str) -> None:
    """--to-datetime goes to the first record at or after the moment."""
    ends = partition_counts(client, topic)
    moment = datetime.now(tz=UTC)
    produce_keyed(client, topic, [f"late {number}" for number in range(RECORDS)])
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    groups(client, "--reset-offsets", "--group", group, "--topic", topic, "--to-datetime", stamp, "--execute")
    assert offsets(client, group) == ends


def test_reset_from_file(client: KafkaTools, topic: str, group: str, tmp_path: Path) -> None:
    """--from-file takes topic, partition and offset by line."""
    plan = tmp_path / "plan.csv"
    plan.write_text("".join(f"{topic},{partition},{partition + 1}\n" for partition in range(PARTITIONS)))
    result = groups(client, "--reset-offsets", "--group", group, "--from-file", str(plan), "--execute")
    ends = partition_counts(client, topic)
    wanted = {partition: min(partition + 1, ends[partition]) for partition in range(PARTITIONS)}
    assert new_offsets(result) == offsets(client, group) == wanted


def test_reset_exported(client: KafkaTools, topic: str, group: str, tmp_path: Path) -> None:
    """--export prints the plan that --from-file takes; a plan for some partitions leaves the others."""
    ends = partition_counts(client, topic)
    reset = ("--reset-offsets", "--group", group)
    exported = groups(client, *reset, "--topic", f"{topic}:0,2", "--to-earliest", "--export", "--dry-run")
    rows = [line.replace('"', "").split(",") for line in exported.lines]
    assert sorted(rows) == [[topic, "0", "0"], [topic, "2", "0"]], str(exported)
    plan = tmp_path / "plan.csv"
    plan.write_text("\n".join(exported.lines))
    groups(client, *reset, "--from-file", str(plan), "--execute")
    assert offsets(client, group) == {0: 0, 1: ends[1], 2: 0}


def test_reset_of_all_topics(client: KafkaTools, topic: str, group: str) -> None:
    """--all-topics takes every topic that the group has committed."""
    result = groups(client, "--reset-offsets", "--group", group, "--all-topics", "--to-earliest", "--execute")
    assert new_offsets(result) == offsets(client, group) == dict.fromkeys(range(PARTITIONS), 0)
    assert topic in result.output


def test_reset_is_followed(client: KafkaTools, topic: str, group: str) -> None:
    """After a reset to the start the console consumer in the group reads everything again."""
    groups(client, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    again = client.check(
        "kafka-console-consumer", "--topic", topic, "--group", group,
        "--max-messages", str(RECORDS), "--timeout-ms", str(int(TIMEOUT_S * 500)),
    )  # fmt: skip
    assert len(again.lines) == RECORDS


def test_delete_offsets(client: KafkaTools, topic: str, group: str) -> None:
    """--delete-offsets of the topic leaves the group without any."""
    result = groups(client, "--delete-offsets", "--group", group, "--topic", topic)
    assert "Successful" in result.output, str(result)
    described = groups(client, "--describe", "--group", group)
    assert topic not in described.output


def test_delete(client: KafkaTools, group: str) -> None:
    """--delete removes the group; a second one says that there is none."""
    result = groups(client, "--delete", "--group", group)
    assert f"Deletion of requested consumer groups ('{group}') was successful." in result.output, str(result)
    assert group not in groups(client, "--list").lines
    again = groups(client, "--delete", "--group", group)
    assert "GroupIdNotFoundException" in again.output + again.errors, str(again)


def produce_keyed(client: KafkaTools, topic: str, lines: list[str]) -> None:
    """Each line with a key of its own, so that they spread over the partitions."""
    client.check(
        "kafka-console-producer", "--topic", topic, client.reader_property, "parse.key=true",
        client.reader_property, "key.separator=:", stdin="".join(f"{line}:{line}\n" for line in lines),
    )  # fmt: skip


def groups(client: KafkaTools, *arguments: str) -> ToolResult:
    return client.run("kafka-consumer-groups", *arguments)


def describe(client: KafkaTools, group: str) -> list[dict[str, str]]:
    lines = groups(client, "--describe", "--group", group).lines
    return table([line for line in lines if not line.startswith("Consumer group ")])


def offsets(client: KafkaTools, group: str) -> dict[int, int]:
    """Partition -> committed offset; partitions without one are not there."""
    rows = [row for row in describe(client, group) if row["CURRENT-OFFSET"] != "-"]
    return {int(row["PARTITION"]): int(row["CURRENT-OFFSET"]) for row in rows}


def new_offsets(result: ToolResult) -> dict[int, int]:
    """Partition -> NEW-OFFSET of a reset's table, which 3.9 prints without line ends."""
    _, heading, rows = result.output.partition("NEW-OFFSET")
    assert heading, str(result)
    words = rows.split()
    return {int(words[at + 2]): int(words[at + 3]) for at in range(0, len(words), 4)}
