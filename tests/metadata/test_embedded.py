"""The embedded store keeps what it acknowledged, through kill -9, restarts and full disks."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio
import trio.testing

from pybroker.metadata import journal
from pybroker.metadata.directory_lock import DirectoryLocked
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.journal import JournalCorrupt
from pybroker.metadata.store import Create, Delete, SessionExpired, SetData, StoreFailed
from tests.metadata.stores import ManualClock


def open_store(directory, clock=None, **options) -> EmbeddedStore:
    clock = clock or ManualClock()
    return EmbeddedStore.open(directory, now_ms=clock.now_ms, timers=clock, **options)


def crash(store: EmbeddedStore) -> None:
    """Lets go of the files without any of what close does."""
    store._journal.close()
    store._lock.release()


async def test_nodes_versions_and_zxids_go_on_after_a_crash(tmp_path):
    store = open_store(tmp_path)
    session = store.session()
    await session.create("/a", b"1")
    await session.set("/a", b"2")
    await session.create("/a/s", sequential=True)
    stats = [await session.exists("/a"), await session.exists("/a/s0000000000")]
    crash(store)

    store = open_store(tmp_path)
    session = store.session()
    assert [await session.exists("/a"), await session.exists("/a/s0000000000")] == stats
    assert await session.create("/a/s", sequential=True) == "/a/s0000000001"
    assert (await session.exists("/a/s0000000001")).czxid == stats[1].czxid + 1
    await store.close()


async def test_ephemeral_nodes_do_not_survive_a_restart(tmp_path):
    store = open_store(tmp_path)
    await store.session().create("/e", ephemeral=True)
    crash(store)
    store = open_store(tmp_path)
    assert await store.session().exists("/e") is None
    await store.close()


async def test_an_abandoned_session_expires_by_broker_time(tmp_path, nursery):
    clock = ManualClock()
    store = open_store(tmp_path, clock)
    nursery.start_soon(store.run)
    killed, other = store.session(timeout_ms=6_000), store.session()
    await killed.create("/e", ephemeral=True)
    gone = trio.Event()
    await other.exists("/e", lambda _: gone.set())
    killed.abandon()
    with pytest.raises(SessionExpired):
        await killed.get("/e")
    clock.advance(5_999)
    await trio.testing.wait_all_tasks_blocked()
    assert await other.exists("/e") is not None
    clock.advance(1)
    with trio.fail_after(5):
        await gone.wait()
    assert await other.exists("/e") is None
    nursery.cancel_scope.cancel()
    await store.close()


async def test_nothing_is_created_under_a_session_while_it_ends(tmp_path, nursery):
    """A write that is queued behind the end of its session must not leave an ephemeral node for ever."""
    store = open_store(tmp_path)
    session, other = store.session(), store.session()
    ended_id = session.session_id
    outcomes = []

    async def write(number):
        try:
            await session.create(f"/e{number}", ephemeral=True)
        except SessionExpired:
            outcomes.append("refused")
        else:
            outcomes.append("created")

    async with trio.open_nursery() as writers:
        for number in range(20):
            writers.start_soon(write, number)
            if number == 10:
                writers.start_soon(store.expire_session, ended_id)
    assert len(outcomes) == 20
    for name in await other.children("/"):
        stat = await other.exists(f"/{name}")
        assert stat.ephemeral_owner == session.session_id != ended_id
    await store.close()


@pytest.mark.parametrize("torn", [b"x", b"00000000 [", b"00000000 []\n", b"\0" * 40])
async def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    store = open_store(tmp_path)
    await store.session().create("/a", b"kept")
    crash(store)
    (file,) = tmp_path.glob("journal.*")
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    store = open_store(tmp_path)
    assert file.read_bytes() == whole
    session = store.session()
    assert (await session.get("/a"))[0] == b"kept"
    await session.create("/b")
    crash(store)
    store = open_store(tmp_path)
    assert await store.session().children("/") == ["a", "b"]
    await store.close()


async def test_a_journal_cut_at_any_byte_yields_exactly_the_whole_lines(tmp_path):
    store = open_store(tmp_path / "original")
    session = store.session()
    for number in range(4):
        await session.create(f"/n{number}", b"data")
    crash(store)
    (file,) = (tmp_path / "original").glob("journal.*")
    content = file.read_bytes()
    for cut in range(len(content) + 1):
        copy = tmp_path / f"cut{cut}"
        copy.mkdir()
        (copy / file.name).write_bytes(content[:cut])
        assert len(journal.load(copy).nodes) == 1 + content[:cut].count(b"\n")


async def test_damage_before_the_last_line_stops_the_start(tmp_path):
    store = open_store(tmp_path)
    session = store.session()
    await session.create("/a")
    await session.create("/b")
    crash(store)
    (file,) = tmp_path.glob("journal.*")
    damaged = bytearray(file.read_bytes())
    damaged[12] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(JournalCorrupt):
        open_store(tmp_path)


async def test_snapshots_replace_journals_and_say_the_same(tmp_path):
    store = open_store(tmp_path, snapshot_after_bytes=2_000)
    session = store.session()
    for number in range(100):
        await session.create(f"/n{number}", b"\xff\x00" * number)
        if number % 3 == 0:
            await session.multi([SetData(f"/n{number}", b"set"), Create(f"/n{number}/child")])
        if number % 5 == 0:
            await session.delete(f"/n{number}" if number % 3 else f"/n{number}/child")
    names = await session.children("/")
    nodes = await session.get_all([f"/{name}" for name in names])
    root = await session.exists("/")
    crash(store)
    assert len(list(tmp_path.glob("snapshot.*"))) == 1
    assert len(list(tmp_path.glob("journal.*"))) == 1
    store = open_store(tmp_path)
    session = store.session()
    assert await session.children("/") == names
    assert await session.get_all([f"/{name}" for name in names]) == nodes
    assert await session.exists("/") == root
    await store.close()


async def test_a_crash_between_a_snapshot_and_the_removal_of_old_files_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "remove_covered", lambda directory, zxid: None)
    store = open_store(tmp_path, snapshot_after_bytes=500)
    session = store.session()
    for number in range(30):
        await session.create(f"/n{number}")
    crash(store)
    assert len(list(tmp_path.glob("snapshot.*"))) > 1
    (tmp_path / "snapshot.00000000000000ff.00000000000000ff.tmp").write_bytes(b"half")
    store = open_store(tmp_path)
    assert len(await store.session().children("/")) == 30
    assert not list(tmp_path.glob("*.tmp"))
    await store.close()


async def test_writers_that_come_together_share_one_sync(tmp_path, monkeypatch, nursery):
    store = open_store(tmp_path)
    session = store.session()
    synced = []
    real = os.fsync
    monkeypatch.setattr(journal.os, "fsync", lambda fd: (synced.append(fd), real(fd))[1])
    async with trio.open_nursery() as writers:
        for number in range(50):
            writers.start_soon(session.create, f"/n{number}")
    assert len(await session.children("/")) == 50
    assert len(synced) <= 3
    await store.close()


async def test_paths_that_are_ensured_share_one_sync(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    synced = []
    monkeypatch.setattr(journal.os, "fsync", synced.append)
    await store.session().ensure(*(f"/n{number}/below" for number in range(50)))
    assert len(synced) == 1
    await store.close()


async def test_without_syncs_nothing_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(journal.os, "fsync", synced.append)
    store = open_store(tmp_path, syncs=False)
    await store.session().create("/a")
    await store.close()
    assert synced == []


async def test_nothing_is_seen_before_it_is_on_disk(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    session = store.session()
    seen_during_sync = []
    real = os.fsync

    def fsync(descriptor):
        seen_during_sync.append("/a" in store._tree.nodes)
        real(descriptor)

    monkeypatch.setattr(journal.os, "fsync", fsync)
    await session.create("/a")
    assert seen_during_sync == [False]
    await store.close()


async def test_a_full_disk_refuses_the_write_and_the_store_goes_on(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    session = store.session()
    await session.create("/a")
    (file,) = tmp_path.glob("journal.*")
    before = file.read_bytes()
    write = journal.Journal._write_all

    def half(self, line):
        write(self, line[: len(line) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.Journal, "_write_all", half)
    with pytest.raises(StoreFailed):
        await session.multi([Create("/b"), Delete("/a")])
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert await session.children("/") == ["a"]
    await session.create("/c")
    crash(store)
    store = open_store(tmp_path)
    assert await store.session().children("/") == ["a", "c"]
    await store.close()


async def test_after_a_failed_sync_the_store_accepts_nothing_more(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    session = store.session()

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal.os, "fsync", fail)
    with pytest.raises(StoreFailed):
        await session.create("/a")
    monkeypatch.undo()
    with pytest.raises(StoreFailed):
        await session.create("/b")
    assert await session.children("/") == []


async def test_a_directory_has_one_owner(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(DirectoryLocked):
        open_store(tmp_path)
    await store.close()
    await open_store(tmp_path).close()


CHILD = """
import sys, trio
from pathlib import Path
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.store import Create, SetData

async def writer(session, name):
    await session.create(f"/{name}", b"-1")
    number = 0
    while True:
        await session.multi([Create(f"/{name}/{number}"), SetData(f"/{name}", b"%d" % number, number)])
        print(name, number, flush=True)
        number += 1

async def main():
    store = EmbeddedStore.open(Path(sys.argv[1]), now_ms=lambda: 0, snapshot_after_bytes=3000)
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(writer, store.session(), name)

trio.run(main)
"""


@pytest.mark.parametrize("acknowledged_before_kill", [1, 40, 150])
async def test_kill_9_loses_no_acknowledged_multi(tmp_path, acknowledged_before_kill):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(acknowledged_before_kill)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.read().splitlines(keepends=True)
    child.wait()
    child.stdout.close()
    last: dict[str, int] = {}
    for line in lines:
        if line.endswith("\n"):
            name, number = line.split()
            last[name] = int(number)
    store = open_store(tmp_path)
    session = store.session()
    for name, number in last.items():
        stored = int((await session.get(f"/{name}"))[0])
        assert stored >= number
        assert len(await session.children(f"/{name}")) == stored + 1
    await store.close()
