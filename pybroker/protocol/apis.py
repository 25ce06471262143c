"""Every API by its key: name, versions, header versions, and its message classes when asked for."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pybroker.model.values import Value
from pybroker.protocol import kept, messages
from pybroker.protocol.message_classes import Message
from pybroker.protocol.specs import api_versions, file_index, spec_folder

CONTROLLED_SHUTDOWN: Final = 7
API_VERSIONS: Final = 18


class ApiSpec(Value):
    """One API as the specs know it; what this broker serves of it is the registry's business."""

    key: int
    name: str
    versions: tuple[int, int]
    """First and last version, both inclusive."""
    flexible_from: int | None
    """The first version with compact lengths and tagged fields; None when no version has them."""

    @property
    def request(self) -> type[Message]:
        found: type[Message] = getattr(messages, f"{self.name}Request")
        return found

    @property
    def response(self) -> type[Message]:
        found: type[Message] = getattr(messages, f"{self.name}Response")
        return found

    def is_flexible(self, version: int) -> bool:
        return self.flexible_from is not None and version >= self.flexible_from

    def request_header_version(self, version: int) -> int:
        """The version of RequestHeader before a request, also for versions that do not exist (yet), because
        ApiVersions must answer those."""
        if self.key == CONTROLLED_SHUTDOWN and version == 0:
            return 0
        return 2 if self.is_flexible(version) else 1

    def response_header_version(self, version: int) -> int:
        """The version of ResponseHeader before a response. ApiVersions stays at 0, since its client cannot
        know yet what the broker speaks (KIP-511)."""
        return 1 if self.is_flexible(version) and self.key != API_VERSIONS else 0


def _read_apis() -> Mapping[int, ApiSpec]:
    paths = (f"{spec_folder()}/{stem}.toml" for stem in file_index().values())
    made_of = f"{kept.modules('apis', 'specs')} {kept.files(*paths)}"
    rows = kept.load("apis", made_of)
    if rows is None:
        rows = [_row(key) for key in file_index()]
        kept.keep("apis", made_of, rows)
    return MappingProxyType({row[0]: ApiSpec(*row) for row in rows})


def _row(key: int) -> tuple[int, str, tuple[int, int], int | None]:
    """The fields of an :class:`ApiSpec`."""
    api = api_versions(key)
    flexible_from = api.flexible.first if api.flexible else None
    return key, api.name, (api.versions.first, api.versions.last), flexible_from


api_by_key: Final = _read_apis()
