"""Logs change their directories, whole or not at all, whenever the power goes."""

import random
from pathlib import Path

import pytest

from pybroker.model.ids import TopicPartition, new_topic_id
from pybroker.records.header import Record
from pybroker.storage import checkpoints, names
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import LogDirFailed, LogDirUnusable
from pybroker.storage.files import Files
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_copy import LogCopy
from pybroker.storage.log_manager import LogManager
from tests.storage.conftest import Clock, all_offsets, all_records, batch
from tests.storage.test_log_copy import catch_up
from tests.storage.test_log_manager import BrokenFiles, manager
from tests.support.memory_files import MemoryFiles, PowerCut

TP = TopicPartition("orders", 0)
CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=200)


def begun(one: Path, two: Path, files: Files | None = None) -> LogManager:
    """A log with 30 records in the first directory and its whole copy in the second."""
    made = manager(one, two, files=files)
    made.load()
    log = made.create(TP, new_topic_id(), CONFIG, log_dir=str(one))
    for _ in range(10):
        log.append_as_leader(batch(3, size=50), 2)
    catch_up(LogCopy(log, made.create_future(TP, str(two))))
    return made


def directories(*dirs: Path) -> list[list[str]]:
    return [sorted(path.name for path in folder.iterdir() if path.is_dir()) for folder in dirs]


def test_the_copy_takes_the_place_of_the_log(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    logs = begun(one, two)
    old, future = logs.get(TP), logs.future(TP)
    assert old is not None
    assert future is not None
    assert future.directory.endswith("-future")
    assert future.topic_id == old.topic_id
    old.cleaned_offset = 6
    old.advance_log_start_offset(4)
    LogCopy(old, future).follow()
    assert logs.replace_with_future(TP) is logs.get(TP) is future
    assert logs.future(TP) is None
    (gone,), here = directories(one, two)
    assert here == [str(TP)]
    assert gone.endswith("-delete")
    assert future.recovery_point == future.log_end_offset == 30
    for name, value in (
        (names.RECOVERY_POINT_CHECKPOINT, 30),
        (names.LOG_START_CHECKPOINT, 4),
        (names.CLEANER_CHECKPOINT, 6),
    ):
        assert checkpoints.read_offsets(Files(), str(one), name) == {}, name
        assert checkpoints.read_offsets(Files(), str(two), name) == {TP: value}, name
    future.append_as_leader(batch(1), 2)
    logs.close()
    logs.empty_trash(1 << 62)
    again = manager(one, two)
    again.load()
    found = again.get(TP)
    assert found is not None
    assert (found.log_dir, all_offsets(found)) == (str(two), list(range(4, 31)))
    assert directories(one, two) == [[], [str(TP)]]
    again.release()


def test_a_move_that_is_under_way_is_found_again(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    begun(one, two).close()
    assert checkpoints.read_offsets(Files(), str(two), names.RECOVERY_POINT_CHECKPOINT) == {TP: 30}
    again = manager(one, two)
    again.load()
    log, future = again.get(TP), again.future(TP)
    assert log is not None
    assert future is not None
    assert future.log_end_offset == log.log_end_offset == 30
    assert again.drop_future(TP)
    assert not again.drop_future(TP)
    assert directories(two)[0][0].endswith("-delete")
    again.release()


def test_a_deleted_log_takes_its_copy_along(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    logs = begun(one, two)
    assert logs.delete_async(TP)
    assert logs.future(TP) is None
    assert [[name[-7:] for name in found] for found in directories(one, two)] == [["-delete"], ["-delete"]]
    logs.empty_trash(1 << 62)
    assert directories(one, two) == [[], []]
    logs.release()


def test_a_log_that_is_not_there_yet_is_made_where_it_was_ordered(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    logs = manager(one, two)
    logs.load()
    logs.prefer(TP, str(two))
    assert logs.create(TP).log_dir == str(two)
    logs.prefer(TP, str(one))
    assert logs.delete_async(TP)
    assert logs.create(TP).log_dir == str(one)
    logs.release()


def test_a_copy_whose_disk_fails_is_forgotten_and_the_log_stays(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    files = BrokenFiles()
    logs = begun(one, two, files)
    log = logs.get(TP)
    assert log is not None
    log.append_as_leader(batch(1), 3)
    copy = LogCopy(log, logs._logs.future[TP])
    files.broken = str(two)
    with pytest.raises(LogDirFailed):
        catch_up(copy)
    assert logs.online_dirs() == [str(one)]
    assert logs.future(TP) is None
    assert logs.get(TP) is log
    logs.release()


def test_of_two_logs_the_one_with_all_of_the_other_is_kept(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    logs = begun(one, two)
    future = logs._logs.future[TP]
    future.append_as_leader(batch(2), 2)
    logs.close()
    Path(future.directory).rename(two / str(TP))
    again = manager(one, two)
    again.load()
    found = again.get(TP)
    assert found is not None
    assert (found.log_dir, found.log_end_offset) == (str(two), 32)
    assert directories(one)[0][0].endswith("-delete")
    again.release()


def test_two_logs_that_differ_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    logs = begun(one, two)
    future = logs._logs.future[TP]
    future.append_as_leader(batch(2), 2)
    log = logs.get(TP)
    assert log is not None
    log.append_as_leader(batch(2, size=20), 2)
    logs.close()
    Path(future.directory).rename(two / str(TP))
    again = manager(one, two)
    with pytest.raises(LogDirUnusable, match=f"{TP} is in .* and they differ; delete the older one"):
        again.load()
    again.release()


# -- the power goes


class Broker:
    """Two log directories in memory, and what was promised."""

    def __init__(self, files: MemoryFiles) -> None:
        for path in ("/one", "/two"):
            files.mkdir(path)
        self.files = files
        context = StorageContext(now_ms=Clock().now_ms, files=files, handle_limit=4, random=random.Random(1))
        self.logs = LogManager(["/one", "/two"], context, config_of=lambda _topic: CONFIG)
        self.acknowledged: list[Record] = []
        self.flushed = 0
        self.logs.load()

    @property
    def log(self) -> Log:
        log = self.logs.get(TP)
        assert log is not None
        return log

    def append(self, count: int) -> None:
        for _ in range(count):
            first = self.log.log_end_offset
            self.log.append_as_leader(batch(2, size=60, producer=(7, 0, first)), first // 20)
        self.acknowledged = all_records(self.log)

    def flush(self) -> None:
        self.log.flush()
        self.flushed = self.log.log_end_offset


def moving(broker: Broker) -> None:
    """There and back again, with appends, flushes and checkpoints before, amid and after."""
    broker.logs.create(TP, new_topic_id(), log_dir="/one")
    for target in ("/two", "/one"):
        broker.append(4)
        broker.flush()
        broker.logs.checkpoint()
        broker.append(2)
        copy = LogCopy(broker.log, broker.logs.create_future(TP, target))
        catch_up(copy)
        broker.append(1)
        broker.logs.checkpoint()
        catch_up(copy)
        broker.logs.replace_with_future(TP)
        broker.flushed = broker.log.log_end_offset
        broker.append(2)
        broker.flush()
        broker.append(1)
        broker.logs.empty_trash(1 << 62)


def run_until_cut(cut_at: int | None) -> Broker | None:
    files = MemoryFiles()
    files.cut_at = cut_at
    broker = None
    try:
        broker = Broker(files)
        moving(broker)
    except PowerCut:
        pass
    return broker


def check(before: Broker, files: MemoryFiles, *, killed: bool) -> None:
    after = Broker(files)
    if after.logs.get(TP) is None:
        assert before.flushed == 0
        assert not (killed and before.acknowledged)
        return
    found = all_records(after.log)
    assert [record.offset for record in found] == list(range(after.log.log_end_offset))
    promised = {record.offset: record for record in before.acknowledged}
    assert all(promised.get(record.offset, record) == record for record in found)
    assert len(found) >= (len(promised) if killed else before.flushed)
    future = after.logs.future(TP)
    if future is not None:
        catch_up(LogCopy(after.log, future))
        after.logs.replace_with_future(TP)
        assert all_records(after.log) == found
    after.append(1)
    kept = all_records(after.log)
    after.logs.close()
    again = Broker(files)
    assert all_records(again.log) == kept
    assert len(kept) == len(found) + 2


def test_the_scenario_itself_ends_where_it_began() -> None:
    broker = run_until_cut(None)
    assert broker is not None
    assert broker.log.directory == f"/one/{TP}"
    assert len(broker.acknowledged) == 40


def test_no_kill_and_no_power_cut_amid_a_move_loses_what_was_promised() -> None:
    whole = run_until_cut(None)
    assert whole is not None
    for cut_at in range(whole.files.changes):
        broker = run_until_cut(cut_at)
        if broker is None:
            continue
        check(broker, broker.files.after_power_cut(None, keep_all=True), killed=True)
        check(broker, broker.files.after_power_cut(None), killed=False)
        check(broker, broker.files.after_power_cut(random.Random(cut_at)), killed=False)
        for disk in ("/one", "/two"):
            check(broker, broker.files.after_power_cut(None, keep_names_below=disk), killed=False)
