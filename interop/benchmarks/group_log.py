"""A data directory of pybroker with a million commits in one partition of ``__consumer_offsets``."""

import time
from pathlib import Path

import trio

from interop.benchmarks.systems import START_TIMEOUT_S, PybrokerSystem, await_answer
from interop.benchmarks.wire import connect
from interop.support.waiting import wait_until
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.coordination.group.records import offset_key, offset_value
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import FindCoordinatorRequest
from pybroker.records.builder import RecordBatchBuilder
from pybroker.records.header import read_batch_header
from pybroker.records.validation import ValidatedBatch
from pybroker.storage.context import StorageContext
from pybroker.storage.files import Files
from pybroker.storage.loader import open_log
from pybroker.storage.log_config import LogConfig

OFFSETS = TopicPartition("__consumer_offsets", 0)
FIND_COORDINATOR = (10, 2)
PER_COMMIT = 10


def prepare(commits: int, groups: int) -> PybrokerSystem:
    """A stopped broker whose one coordinator partition holds so many commits of these groups, in batches of
    ten as clients' requests make them."""
    system = PybrokerSystem("pybroker", {"offsets.topic.num.partitions": "1"})
    system.launch()
    await_answer(system)
    wait_until(lambda: trio.run(has_coordinator, system.port, "any"), "the offsets topic", START_TIMEOUT_S)
    system.halt()
    _append(system.folder / "data" / str(OFFSETS), commits, groups)
    return system


async def has_coordinator(port: int, group_id: str) -> bool:
    connection = await connect(port)
    try:
        answer = await connection.ask(*FIND_COORDINATOR, FindCoordinatorRequest(key=group_id))
    finally:
        connection.close()
    return bool(answer.error_code == ErrorCode.NONE)


def _append(folder: Path, commits: int, groups: int) -> None:
    now_ms = time.time_ns() // 1_000_000
    context = StorageContext(now_ms=lambda: now_ms, files=Files())
    log = open_log(str(folder), OFFSETS, LogConfig(), context, clean=True)
    for number in range(commits // PER_COMMIT):
        builder = RecordBatchBuilder()
        for partition in range(PER_COMMIT):
            key = offset_key(f"group-{number % groups}", TopicPartition("orders", partition))
            builder.append(key, offset_value(CommittedOffset(number, -1, "", now_ms)), now_ms)
        buffer = memoryview(bytearray(builder.build()))
        header = read_batch_header(buffer)
        batch = ValidatedBatch(header, buffer, PER_COMMIT, header.max_timestamp, header.last_offset_delta)
        log.append_as_leader(batch, 0)
    log.close()
