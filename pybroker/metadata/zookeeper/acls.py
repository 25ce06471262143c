"""Who may do what with a node: Kafka's rules (``ZkData.defaultAcls``) as plain values."""

from typing import Final

from pybroker.metadata.znodes import ConfigType, ConfigTypeZNode
from pybroker.model.values import Value

READ: Final = 1
ALL: Final = 31
"""Read, write, create, delete and administer."""

_OPEN_PATH: Final = "/consumers"
_SENSITIVE: Final = (
    ConfigTypeZNode.path(ConfigType.USER),
    ConfigTypeZNode.path(ConfigType.BROKER),
    "/delegation_token/tokens",
)


class AclRule(Value):
    """One entry of a node's access list. ``scheme`` and ``id`` are ZooKeeper's names for who it is about."""

    permissions: int
    scheme: str
    id: str


_EVERYBODY: Final = AclRule(ALL, "world", "anyone")
_CREATOR: Final = AclRule(ALL, "auth", "")
_READERS: Final = AclRule(READ, "world", "anyone")


def acl_of(path: str, *, secure: bool) -> tuple[AclRule, ...]:
    """The access list of a new node at a path without chroot.

    ``secure`` is ``zookeeper.set.acl``: only the creator writes, everybody reads, but not what holds secrets;
    old consumers keep offsets below /consumers, which stays open.
    """
    if not secure or path == _OPEN_PATH:
        return (_EVERYBODY,)
    if path.startswith(_SENSITIVE):
        return (_CREATOR,)
    return (_CREATOR, _READERS)
