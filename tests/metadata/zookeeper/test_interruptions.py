"""What a cut connection does to requests, watches and roles: nothing is lost, nothing is done twice."""

import pytest
import trio
from kazoo.security import make_digest_acl
from msgspec.structs import replace

from pybroker.metadata.store import (
    ConnectionLost,
    Create,
    MultiFailed,
    NodeExists,
    SessionEvent,
    SessionExpired,
    SetData,
    StoreError,
)
from tests.metadata.test_store_contract import Seen
from tests.support.cut_proxy import GET_DATA, MULTI, MULTI_READ

PATIENCE_S = 20


class Events:
    """What a session has told, and a way to wait for it."""

    def __init__(self, session):
        self.told = []
        self._changed = trio.Event()
        session.on_session_event(self._on_event)

    def _on_event(self, event):
        self.told.append(event)
        self._changed.set()

    async def wait_for(self, event, count=1):
        with trio.fail_after(PATIENCE_S):
            while self.told.count(event) < count:
                self._changed = trio.Event()
                await self._changed.wait()


@pytest.fixture
async def session(behind_proxy):
    return await behind_proxy.session()


@pytest.fixture
async def other(direct, session):
    """Somebody else in the same tree."""
    return await direct.session()


@pytest.fixture
def events(session):
    return Events(session)


@pytest.mark.parametrize("forward", [False, True], ids=["before it arrives", "after it was done"])
async def test_a_write_without_an_answer_is_a_maybe_and_is_not_repeated(
    session, other, proxy, events, forward
):
    await session.create("/a", b"before")
    cut = proxy.cut_at(MULTI, forward=forward)
    with pytest.raises(ConnectionLost):
        await session.set("/a", b"after")
    assert cut.happened.is_set()
    await events.wait_for(SessionEvent.CONNECTED)
    assert events.told == [SessionEvent.SUSPENDED, SessionEvent.CONNECTED]
    data, stat = await other.get("/a")
    assert (data, stat.version) == ((b"after", 1) if forward else (b"before", 0))


@pytest.mark.parametrize("forward", [False, True], ids=["before it arrives", "after it was answered"])
async def test_a_read_without_an_answer_is_repeated(session, proxy, events, forward):
    await session.create("/a", b"1")
    cut = proxy.cut_at(GET_DATA, forward=forward)
    watch = Seen()
    with trio.fail_after(PATIENCE_S):
        assert (await session.get("/a", watch))[0] == b"1"
    assert cut.happened.is_set()
    await events.wait_for(SessionEvent.CONNECTED)
    await session.set("/a", b"2")
    assert await watch.wait() == ["/a"]


@pytest.mark.parametrize("forward", [False, True], ids=["before it arrives", "after it was answered"])
async def test_a_read_of_many_without_an_answer_is_repeated(session, proxy, events, forward):
    paths = [f"/{number:03}" for number in range(250)]
    await session.multi_all([[Create(path, path.encode())] for path in paths])
    cut = proxy.cut_at(MULTI_READ, forward=forward, after=1)
    with trio.fail_after(PATIENCE_S):
        found = await session.get_all(paths)
    assert cut.happened.is_set()
    assert [entry[0] for entry in found] == [path.encode() for path in paths]
    await events.wait_for(SessionEvent.CONNECTED)


async def test_of_several_multis_only_the_lost_ones_are_maybes(session, other, proxy, events):
    await session.create("/a")
    proxy.cut_at(MULTI, forward=True)
    results = await session.multi_all([[Create(f"/a/{number}")] for number in range(30)])
    lost = [number for number, result in enumerate(results) if isinstance(result, ConnectionLost)]
    assert lost
    assert lost == list(range(len(lost)))
    assert all(isinstance(result, list) for result in results[len(lost) :])
    names = set(await other.children("/a"))
    assert {str(number) for number in range(len(lost), 30)} <= names
    assert "0" in names


async def test_the_same_session_comes_back_with_its_ephemeral_nodes(session, other, proxy, events):
    before = session.session_id
    await session.create("/e", ephemeral=True)
    proxy.cut()
    await events.wait_for(SessionEvent.CONNECTED)
    assert session.session_id == before
    assert (await other.exists("/e")).ephemeral_owner == before
    assert events.told == [SessionEvent.SUSPENDED, SessionEvent.CONNECTED]


async def test_what_changed_meanwhile_fires_and_what_did_not_is_watched_again(session, other, proxy, events):
    for path in ("/changed", "/deleted", "/same", "/parent", "/still", "/still/child"):
        await session.create(path)
    names = ("changed", "deleted", "same", "created", "never", "parent", "still")
    seen = {name: Seen() for name in names}
    for name in ("changed", "deleted", "same"):
        await session.get(f"/{name}", seen[name])
    for name in ("created", "never"):
        assert await session.exists(f"/{name}", seen[name]) is None
    for name in ("parent", "still"):
        await session.children(f"/{name}", seen[name])
    proxy.is_refusing = True
    proxy.cut()
    await events.wait_for(SessionEvent.SUSPENDED)
    await other.set("/changed", b"1")
    await other.delete("/deleted")
    await other.create("/created")
    await other.create("/parent/child")
    await other.set("/still/child", b"1")
    proxy.is_refusing = False
    await events.wait_for(SessionEvent.CONNECTED)
    fired = {name for name in names if seen[name].paths}
    assert fired == {"changed", "deleted", "created", "parent"}
    assert all(seen[name].paths == [f"/{name}"] for name in fired)
    await other.set("/same", b"1")
    await other.create("/never")
    await other.create("/still/second")
    for name in ("same", "never", "still"):
        assert await seen[name].wait() == [f"/{name}"]


async def test_nothing_is_sent_while_the_connection_is_interrupted(session, other, proxy, events):
    await session.create("/a")
    proxy.is_refusing = True
    proxy.cut()
    await events.wait_for(SessionEvent.SUSPENDED)
    results = []

    async def write() -> None:
        results.append(await session.set("/a", b"held"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        assert await other.set("/a", b"meanwhile", 0)
        proxy.is_refusing = False
    assert results[0].version == 2
    assert (await other.get("/a"))[0] == b"held"


async def test_a_caller_that_went_away_while_waiting_writes_nothing(session, other, proxy, events):
    proxy.is_refusing = True
    proxy.cut()
    await events.wait_for(SessionEvent.SUSPENDED)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.create, "/a")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    proxy.is_refusing = False
    await events.wait_for(SessionEvent.CONNECTED)
    await session.create("/b")
    assert await other.children("/") == ["b"]


async def test_what_waits_when_the_session_is_lost_is_not_written(session, direct, other, proxy, events):
    watch = Seen()
    await session.create("/e", ephemeral=True)
    await session.get("/e", watch)
    proxy.is_refusing = True
    proxy.cut()
    await events.wait_for(SessionEvent.SUSPENDED)
    refused = []

    async def write() -> None:
        with pytest.raises(SessionExpired):
            await session.create("/a", ephemeral=True)
        refused.append(events.told[-1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        await direct.expire(session)
        assert await other.exists("/e") is None
        proxy.is_refusing = False
    await events.wait_for(SessionEvent.CONNECTED)
    assert refused == [SessionEvent.LOST]
    assert events.told == [SessionEvent.SUSPENDED, SessionEvent.LOST, SessionEvent.CONNECTED]
    assert await other.children("/") == []
    assert watch.paths == []
    await session.create("/a", ephemeral=True)


async def test_a_repeated_multi_tells_that_it_was_done(session, other, proxy, events):
    """How a caller compares: the version that its first attempt expected is gone."""
    await session.create("/a")
    proxy.cut_at(MULTI, forward=True)
    operations = [Create("/b"), SetData("/a", b"x", 0)]
    with pytest.raises(ConnectionLost):
        await session.multi(operations)
    await events.wait_for(SessionEvent.CONNECTED)
    with pytest.raises(MultiFailed) as refused:
        await session.multi(operations)
    assert isinstance(refused.value.error, NodeExists)
    assert (await other.get("/a"))[1].version == 1


async def test_watches_that_fire_together_are_called_once_each_per_path(session, other):
    """One loop turn takes all that has come: a watcher of both lists of a node hears of its end once."""
    watch = Seen()
    await session.create("/a")
    await session.get("/a", watch)
    await session.children("/a", watch)
    await session.exists("/a", watch)
    await other.delete("/a")
    await watch.wait()
    await session.exists("/a")
    assert watch.paths == ["/a"]


@pytest.mark.parametrize("ends", ["close", "abandon"])
async def test_who_waits_for_an_answer_when_the_session_ends_is_told(behind_proxy, proxy, ends):
    session = await behind_proxy.session()
    proxy.hold()
    proxy.is_refusing = True
    told = []

    async def ask(question) -> None:
        with pytest.raises((SessionExpired, ConnectionLost)) as failure:
            await question
        told.append(failure.type)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, session.get("/"))
            nursery.start_soon(ask, session.create("/a"))
            await trio.testing.wait_all_tasks_blocked()
            proxy.cut()
            if ends == "close":
                await session.close()
            else:
                session.abandon()
    assert len(told) == 2


async def test_a_watch_on_what_may_not_be_read_any_more_fires(session, other, proxy, events):
    watch = Seen()
    await session.create("/parent")
    await session.children("/parent", watch)
    proxy.is_refusing = True
    proxy.cut()
    await events.wait_for(SessionEvent.SUSPENDED)
    await forbid(other, "/parent")
    proxy.is_refusing = False
    await events.wait_for(SessionEvent.CONNECTED)
    assert watch.paths == ["/parent"]
    with pytest.raises(StoreError, match="no permission for /parent"):
        await session.children("/parent")


async def forbid(session, path):
    """Lets nobody but somebody else read a node."""
    client = session._link._client
    rules = [make_digest_acl("somebody", "else", read=True)]
    set_acls = client.set_acls_async(session._link._full(path), rules)
    await trio.to_thread.run_sync(set_acls.get)


async def test_an_abandoned_session_stands_until_it_expires(direct, other):
    direct.settings = replace(direct.settings, session_timeout_ms=1_500)
    session = await direct.session()
    await session.create("/e", ephemeral=True)
    gone = Seen()
    session.abandon()
    with pytest.raises(SessionExpired):
        await session.get("/e")
    assert await other.exists("/e", gone) is not None
    assert await gone.wait() == ["/e"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_of_kazoo_that_died_is_started_again(direct, monkeypatch):
    direct.settings = replace(direct.settings, session_timeout_ms=1_500)
    session = await direct.session()
    events = Events(session)
    handler = session._link._handler
    connect = handler._connect

    def fail_once(*where):
        monkeypatch.setattr(handler, "_connect", connect)
        raise ZeroDivisionError("what nobody thought of")

    monkeypatch.setattr(handler, "_connect", fail_once)
    handler.hold()
    handler.release()
    await events.wait_for(SessionEvent.LOST)
    await events.wait_for(SessionEvent.CONNECTED)
    await session.create("/a")


async def test_no_more_requests_are_on_their_way_than_allowed(direct, monkeypatch):
    direct.settings = replace(direct.settings, max_in_flight=3)
    session = await direct.session()
    most = 0
    send = session._link.send

    def count(request, question):
        nonlocal most
        most = max(most, session._in_flight)
        send(request, question)

    monkeypatch.setattr(session._link, "send", count)
    await session.create("/a")
    await session.multi_all([[Create(f"/a/{number}")] for number in range(20)])
    assert len(await session.get_all([f"/a/{number}" for number in range(20)])) == 20
    assert most == 3


async def test_a_server_that_cannot_read_many_at_once_is_asked_for_each(behind_proxy, proxy):
    """It also ends the connection, and must be asked but once for that."""
    proxy.has_multi_reads = False
    session = await behind_proxy.session()
    events = Events(session)
    paths = [f"/{number}" for number in range(250)]
    await session.multi_all([[Create(path, path.encode())] for path in paths])
    for _ in range(2):
        found = await session.get_all([*paths, "/none"])
        assert [entry and entry[0] for entry in found] == [*(path.encode() for path in paths), None]
    assert events.told == [SessionEvent.SUSPENDED, SessionEvent.CONNECTED]
    cut = proxy.cut_at(MULTI_READ, forward=False)
    await session.get_all(paths)
    assert not cut.happened.is_set()


async def test_of_many_nodes_the_one_that_may_not_be_read_is_named(session, other):
    await session.multi_all([[Create("/a")], [Create("/b")]])
    await forbid(other, "/b")
    with pytest.raises(StoreError, match="no permission for /b"):
        await session.get_all(["/a", "/b"])
