"""One request for the data of many nodes, which kazoo does not have.

Source: ZooKeeper's ``multiRead``. Servers before version 3.6 answer that it is unimplemented, and end the
connection.
"""

from collections.abc import Sequence
from typing import ClassVar, Final, TypeAlias

from kazoo.exceptions import EXCEPTIONS, ZookeeperError
from kazoo.protocol.serialization import MultiHeader, int_struct, read_buffer, stat_struct, write_string
from kazoo.protocol.states import ZnodeStat

from pybroker.model.values import Value

_GET_DATA: Final = 4
_NO_WATCH: Final = b"\0"
_END: Final[bytes] = MultiHeader(-1, True, -1).serialize()
_NODE: Final[bytes] = MultiHeader(_GET_DATA, False, -1).serialize()

Found: TypeAlias = tuple[bytes | None, ZnodeStat] | ZookeeperError
"""What a server says of one node: its data, or why it does not give it."""


class MultiRead(Value):
    """The request in the shape that kazoo's connection sends and receives."""

    type: ClassVar[int] = 22

    paths: Sequence[str]

    def serialize(self) -> bytes:
        """What follows its type."""
        return b"".join(_NODE + write_string(path) + _NO_WATCH for path in self.paths) + _END

    @classmethod
    def deserialize(cls, reply: bytes, offset: int) -> list[Found]:
        """One entry per path."""
        found: list[Found] = []
        header, offset = MultiHeader.deserialize(reply, offset)
        while not header.done:
            if header.type == _GET_DATA:
                data, offset = read_buffer(reply, offset)
                found.append((data, ZnodeStat._make(stat_struct.unpack_from(reply, offset))))
                offset += stat_struct.size
            else:
                (code,) = int_struct.unpack_from(reply, offset)
                offset += int_struct.size
                found.append(EXCEPTIONS[code]())
            header, offset = MultiHeader.deserialize(reply, offset)
        return found
