"""What every store must do, whatever is behind it: ZooKeeper's semantics as the controller relies on them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from pybroker.metadata.store import (
    BadVersion,
    Check,
    ConnectionLost,
    Create,
    Delete,
    InvalidPath,
    MultiFailed,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    SessionEvent,
    SessionExpired,
    SetData,
    Stat,
    Store,
)
from tests.metadata.stores import (
    StoreUnderTest,
    chroot_settings,
    embedded_under_test,
    zookeeper_under_test,
)


@pytest.fixture(params=["embedded", "zookeeper"])
def kind(request, tmp_path) -> AbstractAsyncContextManager[StoreUnderTest]:
    if request.param == "embedded":
        return embedded_under_test(tmp_path)
    return zookeeper_under_test(chroot_settings(request.getfixturevalue("zookeeper")))


@pytest.fixture
async def backend(kind) -> AsyncIterator[StoreUnderTest]:
    async with kind as under_test:
        yield under_test


@pytest.fixture
async def store(backend) -> Store:
    return await backend.session()


class Seen:
    """A watcher that tells what it saw, and can be awaited."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._fired = trio.Event()

    def __call__(self, path: str) -> None:
        self.paths.append(path)
        self._fired.set()

    async def wait(self) -> list[str]:
        with trio.fail_after(5):
            await self._fired.wait()
        return self.paths


async def test_a_created_node_is_at_version_0_and_its_czxid_is_its_mzxid(store):
    assert await store.create("/a", b"one") == "/a"
    data, stat = await store.get("/a")
    assert data == b"one"
    assert (stat.version, stat.cversion, stat.ephemeral_owner, stat.data_length) == (0, 0, 0, 3)
    assert stat.czxid == stat.mzxid == stat.pzxid > 0


async def test_set_adds_1_to_the_version_and_keeps_the_czxid(store):
    await store.create("/a", b"one")
    before = await store.exists("/a")
    after = await store.set("/a", b"two", 0)
    assert (after.version, after.czxid) == (1, before.czxid)
    assert after.mzxid > before.mzxid
    assert await store.get("/a") == (b"two", after)


async def test_set_and_delete_refuse_another_version_and_a_missing_node(store):
    await store.create("/a")
    for refused in (store.set("/a", b"", 7), store.delete("/a", 7)):
        with pytest.raises(BadVersion):
            await refused
    for missing in (store.set("/b", b""), store.delete("/b"), store.get("/b"), store.children("/b")):
        with pytest.raises(NoNode):
            await missing
    assert await store.exists("/b") is None


async def test_create_refuses_an_existing_node_and_a_missing_parent(store):
    await store.create("/a")
    with pytest.raises(NodeExists):
        await store.create("/a")
    with pytest.raises(NoNode):
        await store.create("/b/c")


async def test_make_parents_creates_what_is_missing_above_as_empty_nodes(store):
    await store.create("/a")
    await store.create("/a/b/c/d", b"leaf", make_parents=True)
    assert (await store.get("/a/b"))[0] == b""
    assert await store.children("/a/b/c") == ["d"]


async def test_what_is_ensured_is_there_and_what_was_there_stays(store):
    await store.create("/a", b"kept")
    await store.ensure("/a/b/c", "/a/b", "/d", "/", "")
    assert (await store.get("/a"))[0] == b"kept"
    assert (await store.get("/a/b/c"))[0] == b""
    assert await store.children("/") == ["a", "d"]
    before = [await store.exists(path) for path in ("/", "/a/b", "/d")]
    await store.ensure("/a/b/c", "/d")
    assert [await store.exists(path) for path in ("/", "/a/b", "/d")] == before


async def test_nothing_can_be_ensured_under_an_ephemeral_node(store):
    await store.create("/e", ephemeral=True)
    with pytest.raises(NoChildrenForEphemerals):
        await store.ensure("/e/a")


async def test_nothing_can_be_ensured_when_the_chroot_is_gone(store, monkeypatch):
    async def refuse(multis):
        return [MultiFailed(0, NoNode(create.path)) for (create,) in multis]

    monkeypatch.setattr(store, "multi_all", refuse)
    with trio.fail_after(5), pytest.raises(NoNode):
        await store.ensure("/a/b")


async def test_what_is_ensured_is_tried_again_where_no_answer_came(store, monkeypatch):
    ask, asked = store.multi_all, []

    async def losing(multis):
        asked.append(len(multis))
        if len(asked) > 1:
            return await ask(multis)
        return [ConnectionLost(), *(await ask(multis[1:]))]

    monkeypatch.setattr(store, "multi_all", losing)
    await store.ensure("/a/b", "/c")
    assert await store.exists("/a/b") is not None
    assert asked == [3, 2]
    await store.ensure("/a/b", "/c")
    assert asked == [3, 2], "what is there is not written again"


async def test_a_node_with_children_cannot_be_deleted(store):
    await store.create("/a/b", make_parents=True)
    with pytest.raises(NotEmpty):
        await store.delete("/a")
    await store.delete("/a/b")
    await store.delete("/a")
    assert await store.exists("/a") is None


@pytest.mark.parametrize("path", ["", "a", "/a/", "//a", "/a//b", "/a/../b", "/a/./b", "/\x00"])
async def test_a_path_is_absolute_and_has_no_empty_or_relative_part(store, path):
    with pytest.raises(InvalidPath):
        await store.create(path)


async def test_children_come_sorted_and_change_the_cversion_of_the_parent(store):
    await store.create("/a")
    for name in ("z", "b", "m"):
        await store.create(f"/a/{name}")
    await store.delete("/a/b")
    assert await store.children("/a") == ["m", "z"]
    stat = await store.exists("/a")
    assert (stat.cversion, stat.num_children, stat.version) == (4, 2, 0)


async def test_sequential_nodes_get_ten_digits_from_the_number_of_children_ever_created(store):
    await store.create("/a")
    first = await store.create("/a/change_", b"1", sequential=True)
    await store.create("/a/other")
    second = await store.create("/a/change_", b"2", sequential=True)
    assert (first, second) == ("/a/change_0000000000", "/a/change_0000000002")
    await store.delete(second)
    assert await store.create("/a/change_", sequential=True) == "/a/change_0000000003"
    assert await store.create("/a/", sequential=True) == "/a/0000000004"


async def test_multi_does_all_operations_on_top_of_each_other(store):
    results = await store.multi(
        [
            Create("/a", b"x"),
            Create("/a/b"),
            SetData("/a", b"y", 0),
            Check("/a", 1),
            Delete("/a/b", 0),
            Create("/a/s", sequential=True),
        ]
    )
    assert results[0] == "/a"
    assert isinstance(results[2], Stat)
    assert results[2].version == 1
    assert results[3] is None
    assert results[4] is None
    assert results[5] == "/a/s0000000001"
    stat = await store.exists("/a")
    assert stat.czxid == stat.mzxid == results[2].mzxid


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (Create("/a"), NodeExists),
        (Create("/x/y"), NoNode),
        (Create("/e/child"), NoChildrenForEphemerals),
        (SetData("/a", b"", 3), BadVersion),
        (SetData("/x", b""), NoNode),
        (Delete("/a"), NotEmpty),
        (Delete("/x"), NoNode),
        (Check("/a", 9), BadVersion),
        (Check("/x", 0), NoNode),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
async def test_a_refused_operation_undoes_the_whole_multi_and_is_named(store, refused, error):
    await store.create("/a/b", make_parents=True)
    await store.create("/e", ephemeral=True)
    with pytest.raises(MultiFailed) as caught:
        await store.multi([SetData("/a", b"changed"), Create("/new"), refused, Create("/newer")])
    assert caught.value.index == 2
    assert type(caught.value.error) is error
    assert (await store.get("/a"))[0] == b""
    assert await store.exists("/new") is None
    assert await store.exists("/newer") is None


async def test_each_of_several_multis_stands_alone_and_sees_the_ones_before(store):
    results = await store.multi_all([[Create("/a")], [Create("/a")], [SetData("/a", b"x", 0)]])
    assert results[0] == ["/a"]
    assert isinstance(results[1], MultiFailed)
    assert isinstance(results[1].error, NodeExists)
    assert isinstance(results[2], list)
    assert (await store.get("/a"))[0] == b"x"


async def test_get_all_has_none_where_there_is_no_node(store):
    await store.create("/a", b"1")
    await store.create("/c", b"3")
    found = await store.get_all(["/a", "/b", "/c"])
    assert [entry and entry[0] for entry in found] == [b"1", None, b"3"]


async def test_an_ephemeral_node_names_its_session_and_goes_with_it(backend, store):
    other = await backend.session()
    assert other.session_id != store.session_id
    await other.create("/e", b"", ephemeral=True)
    assert (await store.exists("/e")).ephemeral_owner == other.session_id
    with pytest.raises(NoChildrenForEphemerals):
        await other.create("/e/child")
    watch = Seen()
    await store.exists("/e", watch)
    await other.close()
    assert await watch.wait() == ["/e"]
    assert await store.exists("/e") is None
    await other.close()
    with pytest.raises(SessionExpired):
        await other.get("/")


async def test_an_expired_session_is_told_and_goes_on_under_a_new_id(backend, store):
    other = await backend.session()
    old_id = other.session_id
    told = []
    connected = trio.Event()

    def listen(event):
        told.append(event)
        if event is SessionEvent.CONNECTED:
            connected.set()

    other.on_session_event(listen)
    await other.create("/e", ephemeral=True)
    await backend.expire(other)
    with trio.fail_after(30):
        await connected.wait()
    assert told[-2:] == [SessionEvent.LOST, SessionEvent.CONNECTED]
    assert other.session_id != old_id
    assert await other.exists("/e") is None
    assert await other.create("/e", ephemeral=True) == "/e"


async def test_a_data_watch_fires_once_at_set_or_delete(store):
    await store.create("/a")
    watch = Seen()
    await store.get("/a", watch)
    await store.set("/a", b"1")
    assert await watch.wait() == ["/a"]
    await store.set("/a", b"2")
    await store.get("/a")
    assert watch.paths == ["/a"]
    again = Seen()
    await store.get("/a", again)
    await store.delete("/a")
    assert await again.wait() == ["/a"]


async def test_an_exists_watch_also_fires_at_creation(store):
    watch = Seen()
    assert await store.exists("/a", watch) is None
    await store.create("/a")
    assert await watch.wait() == ["/a"]


async def test_a_child_watch_fires_when_children_come_or_go_but_not_when_their_data_changes(store):
    await store.create("/a/b", make_parents=True)
    coming, going = Seen(), Seen()
    await store.children("/a", coming)
    await store.set("/a/b", b"1")
    await store.set("/a", b"1")
    await store.exists("/a")
    assert coming.paths == []
    await store.create("/a/c")
    assert await coming.wait() == ["/a"]
    await store.children("/a", going)
    await store.delete("/a/c")
    assert await going.wait() == ["/a"]


async def test_get_of_a_missing_node_sets_no_watch(store):
    watch = Seen()
    with pytest.raises(NoNode):
        await store.get("/a", watch)
    await store.create("/a")
    await store.set("/a", b"1")
    await store.exists("/a")
    assert watch.paths == []


async def test_the_same_watcher_set_twice_is_called_once(store):
    await store.create("/a")
    watch = Seen()
    await store.get("/a", watch)
    await store.exists("/a", watch)
    await store.set("/a", b"1")
    await watch.wait()
    await store.exists("/a")
    assert watch.paths == ["/a"]


async def test_a_watch_has_fired_when_the_writer_of_the_same_session_has_its_answer(store):
    await store.create("/a")
    watch = Seen()
    await store.get("/a", watch)
    await store.set("/a", b"1")
    assert await watch.wait() == ["/a"]


async def test_any_bytes_are_kept_as_they_are(store):
    await store.create("/a", bytes(range(256)))
    await store.create("/b", "Grüße\n".encode())
    assert (await store.get("/a"))[0] == bytes(range(256))
    assert (await store.get("/b"))[0] == "Grüße\n".encode()
