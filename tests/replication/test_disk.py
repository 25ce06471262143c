"""What was appended is durable once a flush has returned."""

from pathlib import Path

from pybroker.replication.disk import flush
from tests.replication.hosts import TOPIC_ID, TP, Host, batch, leading


async def test_a_flush_moves_the_recovery_point_to_the_log_end(tmp_path: Path) -> None:
    partition = Host(tmp_path).open_partition(TP, TOPIC_ID)
    partition.make_leader(leading())
    partition.append(batch(b"a", b"b"))
    assert partition.log.recovery_point == 0
    await flush(partition.log)
    assert partition.log.recovery_point == 2


def test_flush_messages_says_when_an_append_must_be_flushed(tmp_path: Path) -> None:
    partition = Host(tmp_path, topic_configs={TP.topic: {"flush.messages": "2"}}).open_partition(TP, TOPIC_ID)
    partition.make_leader(leading())
    partition.append(batch(b"a"))
    assert not partition.log.flush_is_due
    partition.append(batch(b"b"))
    assert partition.log.flush_is_due
