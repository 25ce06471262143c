"""A copy makes one store what another is, with ids kept, and refuses what would lose or mix clusters."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pybroker.metadata import journal
from pybroker.metadata.copying import (
    CopyRefused,
    EmbeddedPlace,
    Nodes,
    Progress,
    StoredNode,
    check,
    copy,
    open_place,
    plan,
)
from pybroker.metadata.directory_lock import DirectoryLocked
from pybroker.metadata.embedded import EmbeddedStore
from pybroker.metadata.store import Create, Delete, Op, SetData
from pybroker.metadata.znodes import ClusterIdZNode
from tests.metadata.stores import ManualClock
from tests.support.command_line import run

CLUSTER = "dGhlLW9uZS1jbHVzdGVyMQ"
OTHER = "YW5vdGhlci1jbHVzdGVyMQ"


def cluster(cluster_id: str = CLUSTER, epoch: int = 3, **more: str) -> dict[str, StoredNode]:
    """A small cluster's tree; keywords are topics with their data."""
    tree = {
        "/cluster": StoredNode(b""),
        "/cluster/id": StoredNode(ClusterIdZNode(cluster_id).encode()),
        "/controller_epoch": StoredNode(str(epoch).encode()),
        "/brokers": StoredNode(b""),
        "/brokers/ids": StoredNode(b""),
        "/brokers/topics": StoredNode(b""),
    }
    for topic, data in more.items():
        tree[f"/brokers/topics/{topic}"] = StoredNode(data.encode())
    return tree


class MemoryPlace:
    """A tree that obeys like a store, and may fail in the middle of a copy."""

    def __init__(self, nodes: Nodes, *, fails_after: int | None = None) -> None:
        self.nodes = dict(nodes)
        self._fails_after = fails_after

    def read(self) -> Nodes:
        return self.nodes

    def write(self, ops: Sequence[Op], progress: Progress) -> None:
        for done, op in enumerate(ops):
            if done == self._fails_after:
                raise OSError("the network is gone")
            match op:
                case Create(path, data):
                    assert path not in self.nodes
                    assert (path.rpartition("/")[0] or "/") in {"/", *self.nodes}
                    self.nodes[path] = StoredNode(data)
                case SetData(path, data):
                    self.nodes[path] = StoredNode(data, self.nodes[path].version + 1)
                case Delete(path):
                    assert not any(other.startswith(f"{path}/") for other in self.nodes)
                    del self.nodes[path]
            progress(done + 1, len(ops))

    def close(self) -> None:
        return


def no_progress(_done: int, _total: int) -> None:
    return


def test_an_empty_target_gets_everything_and_the_cluster_id_last() -> None:
    source = cluster(orders="{}")
    steps: list[tuple[int, int]] = []
    target = MemoryPlace({"/zookeeper": StoredNode(b""), "/zookeeper/quota": StoredNode(b"")})
    cluster_id, changes = copy(MemoryPlace(source), target, lambda *step: steps.append(step))
    assert (cluster_id, changes) == (CLUSTER, len(source))
    assert {path: node.data for path, node in target.nodes.items() if "zookeeper" not in path} == {
        path: node.data for path, node in source.items()
    }
    assert steps[-1] == (changes, changes)
    assert plan(source, {})[-1] == Create("/cluster/id", source["/cluster/id"].data)


def test_ephemeral_nodes_notifications_and_zookeepers_own_nodes_stay_behind() -> None:
    source = cluster()
    source["/controller"] = StoredNode(b"{}", is_ephemeral=True)
    source["/config/changes"] = StoredNode(b"")
    source["/config/changes/config_change_0000000007"] = StoredNode(b"{}")
    source["/zookeeper"] = StoredNode(b"")
    source["/zookeepers"] = StoredNode(b"")
    created = {op.path for op in plan(source, {}) if isinstance(op, Create)}
    assert created == cluster().keys() | {"/config/changes", "/zookeepers"}


def test_the_same_cluster_is_brought_up_to_date() -> None:
    source = cluster(epoch=5, kept="1", changed="new", added="1")
    target = MemoryPlace(cluster(epoch=4, kept="1", changed="old", gone="1"))
    target.nodes["/brokers/topics/gone/partitions"] = StoredNode(b"")
    _, changes = copy(MemoryPlace(source), target, no_progress)
    assert {path: node.data for path, node in target.nodes.items()} == {
        path: node.data for path, node in source.items()
    }
    assert changes == 5
    assert copy(MemoryPlace(source), target, no_progress) == (CLUSTER, 0)


def test_generated_broker_ids_are_not_given_out_again() -> None:
    source = cluster()
    source["/brokers/seqid"] = StoredNode(b"", version=4)
    target = MemoryPlace({})
    copy(MemoryPlace(source), target, no_progress)
    assert target.nodes["/brokers/seqid"].version == 4
    copy(MemoryPlace(source), target, no_progress)
    assert target.nodes["/brokers/seqid"].version == 4


@pytest.mark.parametrize("fails_after", range(7))
def test_an_interrupted_copy_can_be_started_again(fails_after: int) -> None:
    source = cluster(orders="{}")
    target = MemoryPlace({}, fails_after=fails_after)
    with pytest.raises(OSError, match="gone"):
        copy(MemoryPlace(source), target, no_progress)
    assert "/cluster/id" not in target.nodes
    again = MemoryPlace(target.nodes)
    copy(MemoryPlace(source), again, no_progress)
    assert again.nodes == source


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ({}, {}, "the source has no cluster"),
        (cluster(), cluster(OTHER), "the target holds cluster"),
        (cluster(), {"/somebody": StoredNode(b"")}, "the target is not empty"),
        (cluster(epoch=3), cluster(epoch=4), "the target is newer"),
        (cluster() | {"/brokers/ids/1": StoredNode(b"", is_ephemeral=True)}, {}, "in the source: 1; stop"),
        (cluster(), {"/brokers/ids/2": StoredNode(b"", is_ephemeral=True)}, "in the target: 2; stop"),
        (cluster() | {"/controller": StoredNode(b"")}, {}, "KRaft"),
        (cluster() | {"/cluster/id": StoredNode(b"?")}, {}, "/cluster/id"),
        (cluster() | {"/controller_epoch": StoredNode(b"?")}, cluster(), "/controller_epoch"),
    ],
)
def test_what_would_lose_or_mix_clusters_is_refused(source: Nodes, target: Nodes, reason: str) -> None:
    with pytest.raises(CopyRefused, match=reason):
        check(source, target)


async def make_embedded(log_dir: Path, *, crash: bool = False) -> EmbeddedStore:
    store = EmbeddedStore.open(log_dir / journal.DIRECTORY, now_ms=ManualClock().now_ms)
    session = store.session()
    for path, node in sorted(cluster(orders="{}").items()):
        await session.create(path, node.data)
    await session.create("/controller", b"{}", ephemeral=True)
    if not crash:
        await store.close()
    return store


async def test_an_embedded_store_is_copied_and_opens_again(tmp_path: Path) -> None:
    await make_embedded(tmp_path / "one")
    line = ["--from", f"embedded:{tmp_path / 'one'}", "--to", f"embedded:{tmp_path / 'two'}"]
    result = run(["metadata", "copy", *line])
    assert result.exit_code == 0, result.errors
    assert f"cluster {CLUSTER}: 7 changes" in result.output
    copied = EmbeddedStore.open(tmp_path / "two" / journal.DIRECTORY, now_ms=ManualClock().now_ms)
    session = copied.session()
    assert (await session.get("/brokers/topics/orders"))[0] == b"{}"
    assert await session.exists("/controller") is None
    await copied.close()
    result = run(["metadata", "copy", *line])
    assert f"cluster {CLUSTER}: 0 changes" in result.output


async def test_ephemeral_nodes_that_a_crash_left_are_no_obstacle(tmp_path: Path) -> None:
    store = await make_embedded(tmp_path, crash=True)
    store._lock.release()
    place = EmbeddedPlace(tmp_path, create=False)
    assert "/controller" not in place.read()
    place.write([Create("/controller", b"")], no_progress)
    assert place.read()["/controller"] == StoredNode(b"")
    place.close()


async def test_a_store_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    store = await make_embedded(tmp_path / "one", crash=True)
    line = ["--from", f"embedded:{tmp_path / 'one'}", "--to", f"embedded:{tmp_path / 'two'}"]
    result = run(["metadata", "copy", *line])
    assert result.exit_code == 1
    assert result.errors.count("\n") == 1
    assert "is in use by another process" in result.errors
    with pytest.raises(DirectoryLocked):
        open_place(f"embedded:{tmp_path / 'one'}")
    await store.close()


@pytest.mark.parametrize("place", ["", "embedded:", "zookeeper:", "file:/tmp", "/tmp"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(CopyRefused, match="neither"):
        open_place(place)


def test_a_source_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CopyRefused, match="no metadata store"):
        open_place(f"embedded:{tmp_path / 'nowhere'}")
    assert not (tmp_path / "nowhere").exists()
