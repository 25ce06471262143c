"""The tree below a chroot as plain values, and what two clusters' trees may differ in."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from msgspec import Struct

from interop.support.zookeeper import ZooKeeperServer


class Node(Struct, frozen=True):
    """What is compared of a node: its data, decoded where it is JSON, how often it was set, whose it is."""

    data: Any
    version: int
    is_ephemeral: bool
    acl: tuple[tuple[int, str, str], ...] = ()


Tree = Mapping[str, Node]


def read_tree(server: ZooKeeperServer, chroot: str, auth: tuple[str, str] | None = None) -> Tree:
    """Every node below the chroot, by its path in there. `auth` is ZooKeeper's scheme and credential."""
    client = KazooClient(server.address + chroot, auth_data=[auth] if auth else None)
    client.start()
    try:
        tree: dict[str, Node] = {}
        _read(client, "", tree)
    finally:
        client.stop()
        client.close()
    return tree


def _read(client: KazooClient, path: str, tree: dict[str, Node]) -> None:
    try:
        data, stat = client.get(path or "/")
        acls, _ = client.get_acls(path or "/")
        names = client.get_children(path or "/")
    except NoNodeError:
        return  # deleted while it was read
    tree[path or "/"] = Node(
        _decode(data or b""),
        stat.version,
        stat.ephemeralOwner != 0,
        tuple(sorted((acl.perms, acl.id.scheme, acl.id.id) for acl in acls)),
    )
    for name in sorted(names):
        _read(client, f"{path}/{name}", tree)


def _decode(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


def _stand_in(*names: str) -> Callable[[Any], Any]:
    return lambda data: {**data, **{name: type(data[name]).__name__ for name in names}}


def _registration(data: Any) -> Any:
    return {
        **data,
        "port": "port",
        "timestamp": "ms",
        "endpoints": [endpoint.rpartition(":")[0] for endpoint in data["endpoints"]],
        "features": "features",
    }


ALLOWED: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    (r"/cluster/id", "a random id", _stand_in("id")),
    (
        r"/brokers/ids/\d+",
        "a free port, the time, and features that Kafka has only with KRaft",
        _registration,
    ),
    (r"/controller", "the time", _stand_in("timestamp")),
    (r"/brokers/topics/[^/]+", "a random topic id", _stand_in("topic_id")),
)
"""Path, why the data may differ, and what stands for it."""


def differences(ours: Tree, theirs: Tree) -> list[str]:
    """Where the trees differ beside what is allowed; a line each."""
    found = [f"{path}: only ours has it" for path in sorted(ours.keys() - theirs.keys())]
    found += [f"{path}: only theirs has it" for path in sorted(theirs.keys() - ours.keys())]
    for path in sorted(ours.keys() & theirs.keys()):
        one, other = _allowing(path, ours[path]), _allowing(path, theirs[path])
        for name in ("data", "version", "is_ephemeral", "acl"):
            if getattr(one, name) != getattr(other, name):
                found.append(f"{path}: {name} is {getattr(one, name)!r}, theirs {getattr(other, name)!r}")
    return found


def _allowing(path: str, node: Node) -> Node:
    for pattern, _, stand_in in ALLOWED:
        if re.fullmatch(pattern, path):
            return Node(stand_in(node.data), node.version, node.is_ephemeral, node.acl)
    return node
