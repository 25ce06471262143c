"""What a coordinator bears: a long log to read, many members, and many commits.

Run ``python -m interop.benchmarks.groups [--quick] [--rounds N] [--systems a,b] [--json FILE]``.

* replay: a real broker is started on 1,000,000 commits of 10,000 groups in one partition, and the time counts
  from its start. It opens its port within five seconds; from then on another connection asks for ApiVersions
  every few milliseconds until the groups are served. CPU seconds are the broker's own; the time also holds
  what other programs take of the machine.
* members: 100 consumers join one group at once, then one leaves; until all are in one generation. Heartbeats
  every 100 ms, no initial delay. The same by the consumer protocol (KIP-848), beside Apache Kafka 4, until
  each of 200 partitions has one owner and all are in one epoch; Apache Kafka reckons assignments at once
  here, by default it waits for a second.
* commits: 100 connections commit 10 offsets at a time, as fast as they are answered, for 10,000 groups.
"""

import argparse
import sys
import time
from contextlib import ExitStack

import trio

from interop.benchmarks.client import parse_options, rotated
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.benchmarks.group_log import has_coordinator, prepare
from interop.benchmarks.members import ClassicMember, ConsumerMember, Member, Round
from interop.benchmarks.systems import (
    START_TIMEOUT_S,
    Kafka4System,
    KafkaSystem,
    PybrokerSystem,
    System,
    Usage,
    await_answer,
)
from interop.benchmarks.wire import connect, frame
from pybroker.model.errors import ErrorCode
from pybroker.protocol.codec import decode
from pybroker.protocol.messages import (
    ApiVersionsRequest,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
)

ROUNDS = 5
COMMITS, GROUPS = 1_000_000, 10_000
MEMBERS = 100
CONNECTIONS, OFFSETS_EACH = 100, 10
TOPIC = "bench-groups"
CONSUMER_TOPIC, CONSUMER_PARTITIONS = "bench-consumer-groups", 200
PROBE_S, POLL_S = 0.003, 0.05
API_VERSIONS, OFFSET_COMMIT, OFFSET_FETCH = (18, 2), (8, 7), (9, 5)
NOT_YET = (
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
)

PAIRS = (("pybroker", "kafka"), ("pybroker", "kafka4"), ("pybroker", "idle"))
REPLAY, REPLAY_CPU = "replay of 1,000,000 commits, s", "replay, CPU s of the broker"
STRETCH = "replay, most CPU of a stretch on the loop, ms"
JOIN, LEAVE = "100 members join, s to stable", "one of 100 leaves, s to stable"
CONSUMER_JOIN, CONSUMER_LEAVE = f"consumer protocol: {JOIN}", f"consumer protocol: {LEAVE}"
COMMIT_RATE, COMMIT_P99 = "commits of 10 offsets/s", "commit p99, ms"
TARGETS = [
    Target(REPLAY, "pybroker", 12, at_least=False),
    Target("replay, others' p99, ms", "pybroker", 50, at_least=False),
    Target(STRETCH, "pybroker", 5, at_least=False),
    Target(JOIN, "pybroker", 1.1, "kafka", at_least=False),
    Target(LEAVE, "pybroker", 1.1, "kafka", at_least=False),
    Target(CONSUMER_JOIN, "pybroker", 1.1, "kafka4", at_least=False),
    Target(CONSUMER_LEAVE, "pybroker", 1.1, "kafka4", at_least=False),
    Target(COMMIT_RATE, "pybroker", 3000),
]


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("groups", options.rounds, PAIRS)
    with ExitStack() as stack:
        if "pybroker" in options.systems:
            progress("writing the commits")
            replayed = prepare(COMMITS, GROUPS)
            stack.callback(replayed.close)
            for number in range(options.rounds):
                progress(f"replay {number + 1} of {options.rounds}")
                replay(replayed, figures)
        systems = [
            _started(name, stack) for name in ("pybroker", "kafka", "kafka4") if _is_wanted(name, options)
        ]
        of_classic = [system for system in systems if system.name != "kafka4"]
        of_consumer = [system for system in systems if system.name != "kafka"]
        warm_up = Figures("warm-up", 1, ())
        for number in range(-1, options.rounds):
            progress(f"round {number + 1} of {options.rounds}" if number >= 0 else "warming up")
            into = figures if number >= 0 else warm_up
            for system in rotated(of_classic, number):
                trio.run(join_and_leave, system, f"members-{number}", ClassicMember, into)
            for system in rotated(of_consumer, number):
                trio.run(join_and_leave, system, f"consumers-{number}", ConsumerMember, into)
            for system in rotated(of_classic, number):
                trio.run(commit, system, 3.0 if options.quick else 6.0, into)
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


def _is_wanted(name: str, options: argparse.Namespace) -> bool:
    """Whoever asks for Apache Kafka gets both."""
    return name.removesuffix("4") in options.systems


def _started(name: str, stack: ExitStack) -> System:
    system: System
    if name == "kafka":
        system = KafkaSystem()
    elif name == "kafka4":
        system = Kafka4System()
    else:
        # Apache Kafka's own server.properties say the same.
        system = PybrokerSystem(settings={"group.initial.rebalance.delay.ms": "0"})
    stack.callback(system.close)
    system.prepare()
    system.launch()
    await_answer(system)
    system.create_topic(TOPIC, OFFSETS_EACH)
    system.create_topic(CONSUMER_TOPIC, CONSUMER_PARTITIONS)
    return system


# -- replay ------------------------------------------------------------------------------------------


def replay(system: PybrokerSystem, figures: Figures) -> None:
    started_s = time.perf_counter()
    system.launch()
    usage = Usage(system)
    await_answer(system)
    busy, idle = trio.run(_probe_during_replay, system.port, figures, started_s, usage)
    for name, latencies in (("pybroker", busy), ("idle", idle)):
        figures.add("replay, others' p50, ms", name, percentile_ms(latencies, 0.5))
        figures.add("replay, others' p99, ms", name, percentile_ms(latencies, 0.99))
        figures.add("replay, others' worst, ms", name, max(latencies) * 1000)
    figures.add("replay, memory after, MiB", "pybroker", usage.rss_mib)
    system.halt()
    figures.add(STRETCH, "pybroker", system.stretches_ms()[1])


async def _probe_during_replay(
    port: int, figures: Figures, started_s: float, usage: Usage
) -> tuple[list[float], list[float]]:
    """Latencies while the log is read, and as many seconds later, when there is nothing else to do."""
    busy: list[float] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(_probe, port, busy)
        await _until_loaded(port, "group-1")
        figures.add(REPLAY, "pybroker", time.perf_counter() - started_s)
        figures.add(REPLAY_CPU, "pybroker", usage.cpu_s)
        nursery.cancel_scope.cancel()
    idle: list[float] = []
    with trio.move_on_after(2):
        await _probe(port, idle)
    return busy, idle


async def _probe(
    port: int, latencies: list[float], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Started with its first answer: on a fast machine the groups are served when the port opens."""
    connection = await connect(port)
    request = frame(*API_VERSIONS, ApiVersionsRequest())
    try:
        while True:
            sent_s = time.perf_counter()
            await connection.exchange(request)
            latencies.append(time.perf_counter() - sent_s)
            if len(latencies) == 1:
                task_status.started()
            await trio.sleep(PROBE_S)
    finally:
        connection.close()


async def _until_loaded(port: int, group_id: str) -> None:
    """Heartbeats would not tell: while a group is loaded they are answered blindly."""
    connection = await connect(port)
    request = OffsetFetchRequest(group_id=group_id, topics=[])
    try:
        while (await connection.ask(*OFFSET_FETCH, request)).error_code in NOT_YET:
            await trio.sleep(POLL_S)
    finally:
        connection.close()


# -- members -----------------------------------------------------------------------------------------


async def join_and_leave(
    system: System, group_id: str, kind: type[ClassicMember | ConsumerMember], figures: Figures
) -> None:
    await await_coordinator(system.port, group_id)
    is_classic = kind is ClassicMember
    group = Round(system.port, group_id, CONSUMER_TOPIC, 0 if is_classic else CONSUMER_PARTITIONS)
    members: list[Member] = [kind(group, number) for number in range(MEMBERS)]
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            started_s = time.perf_counter()
            for member in members:
                nursery.start_soon(member.run)
            await group.stable(MEMBERS)
            figures.add(JOIN if is_classic else CONSUMER_JOIN, system.name, time.perf_counter() - started_s)
            started_s = time.perf_counter()
            members[0].leave()
            await group.stable(MEMBERS - 1)
            figures.add(LEAVE if is_classic else CONSUMER_LEAVE, system.name, time.perf_counter() - started_s)
            nursery.cancel_scope.cancel()


async def await_coordinator(port: int, group_id: str) -> None:
    with trio.fail_after(START_TIMEOUT_S):
        while not await has_coordinator(port, group_id):
            await trio.sleep(POLL_S)
        await _until_loaded(port, group_id)


# -- commits -----------------------------------------------------------------------------------------


async def commit(system: System, seconds: float, figures: Figures) -> None:
    for group_id in ("commits-0-0", "commits-1-0"):
        await await_coordinator(system.port, group_id)
    latencies: list[float] = []
    usage = Usage(system)
    started_s = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(CONNECTIONS):
            nursery.start_soon(_commit_until, system.port, number, started_s + seconds, latencies)
    took_s = time.perf_counter() - started_s
    figures.add(COMMIT_RATE, system.name, len(latencies) / took_s)
    figures.add("commit p50, ms", system.name, percentile_ms(latencies, 0.5))
    figures.add(COMMIT_P99, system.name, percentile_ms(latencies, 0.99))
    figures.add("commit, CPU µs each", system.name, usage.cpu_s / len(latencies) * 1e6)


async def _commit_until(port: int, number: int, end_s: float, latencies: list[float]) -> None:
    requests = [_commit_frame(f"commits-{number}-{group}") for group in range(GROUPS // CONNECTIONS)]
    connection = await connect(port)
    answer = b""
    try:
        while time.perf_counter() < end_s:
            for request in requests:
                sent_s = time.perf_counter()
                answer = await connection.exchange(request)
                latencies.append(time.perf_counter() - sent_s)
                if time.perf_counter() >= end_s:
                    break
    finally:
        connection.close()
    # All answers are of one size; to decode each of them would measure this client.
    response: OffsetCommitResponse = decode(OffsetCommitResponse, OFFSET_COMMIT[1], answer, 4)[0]
    codes = {partition.error_code for topic in response.topics for partition in topic.partitions}
    assert codes == {ErrorCode.NONE}, codes


def _commit_frame(group_id: str) -> bytes:
    partition = OffsetCommitRequest.OffsetCommitRequestPartition
    topic = OffsetCommitRequest.OffsetCommitRequestTopic(
        name=TOPIC,
        partitions=[
            partition(partition_index=index, committed_offset=42, committed_metadata="")
            for index in range(OFFSETS_EACH)
        ],
    )
    return frame(*OFFSET_COMMIT, OffsetCommitRequest(group_id=group_id, topics=[topic]))


def percentile_ms(samples: list[float], fraction: float) -> float:
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] * 1000


if __name__ == "__main__":
    sys.exit(main())
