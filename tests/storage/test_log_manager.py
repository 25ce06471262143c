"""Log directories: owners, locks, placement, deletion, failure, and what a restart finds."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pybroker.model.ids import TopicPartition, new_topic_id
from pybroker.storage import checkpoints, names
from pybroker.storage.context import StorageContext
from pybroker.storage.errors import LogDirFailed, LogDirUnusable
from pybroker.storage.files import Files
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_loading import LoadProgress
from pybroker.storage.log_manager import LogManager
from pybroker.storage.meta_properties import MetaProperties
from tests.storage.conftest import Clock, all_offsets, batch

ZERO, ONE, TWO = (TopicPartition("a-b.c", n) for n in range(3))


class BrokenFiles(Files):
    """Fails every change below one directory once told so."""

    broken: str | None = None

    def open(self, path: str, *, create: bool = False) -> int:
        if self.broken is not None and path.startswith(self.broken):
            raise OSError(errno.EIO, "I/O error", path)
        return super().open(path, create=create)

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, position: int) -> int:
        if self.broken is not None:
            raise OSError(errno.EIO, "I/O error")
        return super().pwrite(fd, data, position)


class FullFiles(Files):
    """Has no room for another byte once told so."""

    full = False

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, position: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().pwrite(fd, data, position)


def manager(*dirs: Path, clock: Clock | None = None, files: Files | None = None) -> LogManager:
    clock = clock or Clock()
    made = LogManager(
        [str(path) for path in dirs], StorageContext(now_ms=clock.now_ms, files=files or Files())
    )
    made.lock()
    return made


def test_everything_is_found_again_after_a_clean_stop(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.claim(1, "cluster")
    first.load()
    topic_id = new_topic_id()
    log = first.create(ZERO, topic_id)
    assert first.create(ZERO, topic_id) is log
    log.append_as_leader(batch(5), 3)
    log.advance_log_start_offset(2)
    first.checkpoint_high_watermarks({ZERO: 5})
    first.close()
    assert (tmp_path / ".kafka_cleanshutdown").read_text() == '{"version":0,"brokerEpoch":-1}'
    again = manager(tmp_path)
    assert again.owner() == MetaProperties(1, "cluster")
    told: list[LoadProgress] = []
    again.load(told.append)
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    found = again.get(ZERO)
    assert found is not None
    assert (found.topic_id, found.log_start_offset, all_offsets(found)) == (topic_id, 2, [2, 3, 4])
    assert again.read_high_watermarks() == {ZERO: 5}
    assert [(step.partitions_done, step.partitions_total, step.recovering) for step in told] == [
        (1, 1, False)
    ]
    again.release()


def test_without_the_mark_the_next_start_recovers(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.load()
    first.create(ZERO).append_as_leader(batch(5), 3)
    first.release()
    again = manager(tmp_path)
    told: list[LoadProgress] = []
    again.load(told.append)
    assert told[0].recovering
    found = again.get(ZERO)
    assert found is not None
    assert all_offsets(found) == list(range(5))
    again.release()


def test_a_directory_has_one_broker_at_a_time(tmp_path: Path) -> None:
    first = manager(tmp_path)
    with pytest.raises(LogDirUnusable, match="in use by another broker of this process"):
        manager(tmp_path)
    first.release()
    manager(tmp_path).release()


def test_another_process_holding_the_lock_is_noticed(tmp_path: Path) -> None:
    program = (
        "import sys; from pybroker.storage.dir_lock import DirectoryLock;"
        "lock = DirectoryLock(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LogDirUnusable, match=r"\.lock is held"):
            manager(tmp_path)
    finally:
        holder.communicate()
    manager(tmp_path).release()


def test_another_brokers_or_clusters_directory_is_refused(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.claim(1, "cluster")
    for broker, cluster in ((2, "cluster"), (1, "other")):
        with pytest.raises(LogDirUnusable, match="belong to"):
            first.claim(broker, cluster)
    first.claim(1, "cluster")
    first.release()


@pytest.mark.parametrize("text", ["version=1\nnode.id=1\n", "version=0\nbroker.id=x\n", "broker.id=1\n"])
def test_a_strange_meta_properties_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "meta.properties").write_text(text)
    first = manager(tmp_path)
    with pytest.raises(LogDirUnusable):
        first.owner()
    first.release()


def test_a_meta_properties_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").mkdir()
    first = manager(tmp_path)
    with pytest.raises(LogDirUnusable, match=r"meta\.properties cannot be read"):
        first.claim(1, "cluster")
    first.release()


def test_a_full_disk_refuses_the_claim_with_one_clear_error(tmp_path: Path) -> None:
    first = manager(tmp_path, files=(files := FullFiles()))
    files.full = True
    with pytest.raises(LogDirUnusable, match=r"meta\.properties cannot be written"):
        first.claim(1, "cluster")
    first.release()


def test_unusable_directories_are_logged_only_where_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogDirUnusable, match="no log directory can be used"):
        manager(tmp_path / "file")
    assert not caplog.records
    some = manager(tmp_path / "file", tmp_path / "good")
    assert some.online_dirs() == [str(tmp_path / "good")]
    assert [record.message for record in caplog.records if "cannot be made" in record.message]
    some.release()


def test_unknown_keys_of_meta_properties_are_kept(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text("#\nversion=0\nbroker.id=1\ndirectory.id=abc\n")
    first = manager(tmp_path)
    first.claim(1, "cluster")
    assert "directory.id=abc" in (tmp_path / "meta.properties").read_text()
    first.release()


def test_directories_that_disagree_are_refused(tmp_path: Path) -> None:
    for n in (1, 2):
        made = manager(tmp_path / str(n))
        made.claim(n, "cluster")
        made.release()
    both = manager(tmp_path / "1", tmp_path / "2")
    with pytest.raises(LogDirUnusable, match="disagree"):
        both.owner()
    both.release()


def test_new_partitions_go_where_the_fewest_are(tmp_path: Path) -> None:
    made = manager(tmp_path / "x", tmp_path / "y", tmp_path / "z")
    made.load()
    for n in range(6):
        made.create(TopicPartition("t", n))
    assert [len(list((tmp_path / name).glob("t-*"))) for name in "xyz"] == [2, 2, 2]
    assert made.create(ZERO, log_dir=str(tmp_path / "y")).log_dir == str(tmp_path / "y")
    made.release()


def test_a_deleted_partition_is_renamed_now_and_removed_later_even_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    made = manager(tmp_path, clock=clock)
    made.load()
    made.create(ZERO).append_as_leader(batch(5), 0)
    made.create(ONE)
    assert made.delete_async(ZERO)
    assert not made.delete_async(ZERO)
    assert made.get(ZERO) is None
    (renamed,) = tmp_path.glob("*-delete")
    assert renamed.name.startswith("a-b.c-0.")
    assert made.empty_trash() == 0
    fresh = made.create(ZERO)
    assert fresh.log_end_offset == 0
    clock.now += LogConfig().file_delete_delay_ms
    assert made.empty_trash() == 1
    assert not renamed.exists()
    assert made.delete_async(ONE)
    made.close()
    again = manager(tmp_path)
    again.load()
    assert again.get(ONE) is None
    assert again.empty_trash() == 1
    assert not list(tmp_path.glob("*-delete"))
    again.release()


def test_a_stray_replica_that_kafka_has_put_aside_stays_there(tmp_path: Path) -> None:
    made = manager(tmp_path)
    made.load()
    log = made.create(ZERO)
    made.close()
    Path(log.directory).rename(tmp_path / names.renamed_directory(ZERO, names.DirectoryKind.STRAY))
    again = manager(tmp_path)
    again.load()
    assert again.get(ZERO) is None
    assert len(list(tmp_path.glob("*-stray"))) == 1
    again.release()


def test_a_foreign_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "holiday photos").mkdir()
    made = manager(tmp_path)
    with pytest.raises(LogDirUnusable, match="holiday photos"):
        made.load()
    made.release()


def test_a_failing_disk_takes_its_directory_offline_and_the_rest_goes_on(tmp_path: Path) -> None:
    files = BrokenFiles()
    told: list[str] = []
    context = StorageContext(
        now_ms=Clock().now_ms, files=files, on_failure=lambda path, _error: told.append(path)
    )
    made = LogManager([str(tmp_path / "x"), str(tmp_path / "y")], context)
    made.lock()
    made.load()
    logs = [made.create(partition) for partition in (ZERO, ONE)]
    files.broken = str(tmp_path / "x")
    with pytest.raises(LogDirFailed):
        logs[0].append_as_leader(batch(1), 0)
    with pytest.raises(LogDirFailed):
        logs[0].append_as_leader(batch(1), 0)
    files.broken = None
    assert told == [str(tmp_path / "x")]
    assert (made.get(ZERO), made.get(ONE)) == (None, logs[1])
    assert made.online_dirs() == [str(tmp_path / "y")]
    logs[1].append_as_leader(batch(1), 0)
    assert made.create(TWO).log_dir == str(tmp_path / "y")
    made.close()
    assert not (tmp_path / "x" / ".kafka_cleanshutdown").exists()
    assert (tmp_path / "y" / ".kafka_cleanshutdown").exists()


def test_a_stop_before_everything_was_loaded_changes_no_checkpoint(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.load()
    for partition in (ZERO, ONE):
        log = first.create(partition)
        log.append_as_leader(batch(5), 0)
        log.advance_log_start_offset(3)
    first.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*-checkpoint")}
    again = manager(tmp_path)
    next(again.load_steps())
    again.close()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*-checkpoint")} == before
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    third = manager(tmp_path)
    third.load()
    assert [log.log_start_offset for log in third.all_logs()] == [3, 3]
    third.release()


def test_a_log_that_cannot_be_closed_leaves_no_clean_mark(tmp_path: Path) -> None:
    made = manager(tmp_path, files=(files := FullFiles()))
    made.load()
    log = made.create(ZERO)
    log.append_as_leader(batch(2), 0)
    files.full = True
    made.close()
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    files.full = False
    again = manager(tmp_path)
    again.load()
    assert [all_offsets(log) for log in again.all_logs()] == [[0, 1]]
    again.release()


def test_a_full_disk_at_start_takes_the_directory_offline(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.load()
    first.create(ZERO).append_as_leader(batch(5), 0)
    first.release()
    again = manager(tmp_path, files=(files := FullFiles()))
    files.full = True
    again.load()
    assert (again.get(ZERO), again.online_dirs()) == (None, [])
    again.release()


def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.load()
    first.create(ZERO).append_as_leader(batch(5), 0)
    first.close()
    for name in (
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "replication-offset-checkpoint",
    ):
        (tmp_path / name).write_text("0\n3\nnonsense\n")
    again = manager(tmp_path)
    again.load()
    found = again.get(ZERO)
    assert found is not None
    assert all_offsets(found) == list(range(5))
    assert again.read_high_watermarks() == {}
    again.release()


@pytest.mark.parametrize("damaged", [False, True])
def test_recovery_in_worker_processes_finds_the_same(tmp_path: Path, damaged: bool) -> None:
    first = manager(tmp_path / "x", tmp_path / "y")
    first.load()
    for n in range(4):
        first.create(TopicPartition("t", n)).append_as_leader(batch(2, producer=(n, 0, 0)), n)
    first.release()
    if damaged:
        for path in tmp_path.glob("*/t-*/*.log"):
            path.write_bytes(path.read_bytes() + b"torn")
    again = manager(tmp_path / "x", tmp_path / "y")
    told: list[LoadProgress] = []
    again.recover_in_workers(told.append, workers=1, least_bytes=0)
    assert sorted(step.partitions_done for step in told) == [1, 1, 2, 2]
    again.load()
    for log in again.all_logs():
        assert all_offsets(log) == [0, 1]
        assert log.recovery_point == 0, "checked, but not known to be on disk"
        assert log.producers.active()[log.topic_partition.partition].last_sequence == 1
    again.close()


def test_little_to_recover_is_not_worth_a_process(tmp_path: Path) -> None:
    first = manager(tmp_path)
    first.load()
    first.create(ZERO).append_as_leader(batch(2), 0)
    first.release()
    again = manager(tmp_path)
    told: list[LoadProgress] = []
    again.recover_in_workers(told.append)
    assert told == []
    again.load()
    assert len(again) == 1
    again.release()


@pytest.mark.parametrize("fully", [False, True])
def test_a_cut_below_the_checkpoints_is_written_to_them_at_once(tmp_path: Path, fully: bool) -> None:
    logs = manager(tmp_path)
    logs.load()
    log = logs.create(ZERO)
    for _ in range(4):
        log.append_as_leader(batch(5), 0)
    log.flush()
    log.cleaned_offset = 15
    logs.checkpoint()
    logs.checkpoint_cleaned(str(tmp_path))
    log.append_as_leader(batch(5), 0)

    def checkpointed() -> list[int]:
        return [
            checkpoints.read_offsets(Files(), str(tmp_path), name)[ZERO]
            for name in (names.RECOVERY_POINT_CHECKPOINT, names.CLEANER_CHECKPOINT)
        ]

    log.truncate_to(20)
    assert checkpointed() == [20, 15]
    if fully:
        log.truncate_fully_and_start_at(10)
    else:
        log.truncate_to(10)
    assert checkpointed() == [10, 10]
    logs.release()
