"""18 ApiVersions, versions 0 to 4.

- Lists every API of the registry with the versions served; the list is the registry's, never written twice.
- Answers before authentication, and answers a version it does not know in its own first version with
  UNSUPPORTED_VERSION and its own row, so that a newer client can ask again (KIP-511).
- Versions 3 and up: the client's name and version are kept for the connection; a name or version that is not
  letters, digits, dots and dashes is INVALID_REQUEST (KIP-511).
- Versions 3 and up: supported and finalized features (KIP-584). Before version 4 a feature whose lowest level
  is 0 is left out, because older clients cannot read it.

Left out on purpose: ``zk_migration_ready``, which only KRaft controllers set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from msgspec import field

from pybroker.handlers.context import RequestContext
from pybroker.handlers.routes import Route
from pybroker.model.errors import ErrorCode
from pybroker.model.values import Value
from pybroker.protocol import messages

_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_UNKNOWN_EPOCH = -1


class Features(Value):
    """Feature levels of this broker and of the cluster.

    Attributes:
        supported: lowest and highest level by feature, both inclusive.
        finalized: the level in force by feature; 0 is the same as absent.
        epoch: version of ``finalized``; -1 when unknown.
    """

    supported: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    finalized: Mapping[str, int] = field(default_factory=dict)
    epoch: int = _UNKNOWN_EPOCH


class ApiVersions:
    """``routes`` gives the finished registry, ``features`` the features as they are now."""

    def __init__(
        self, routes: Callable[[], Iterable[Route]], features: Callable[[], Features] = Features
    ) -> None:
        self._routes = routes
        self._features = features

    async def __call__(
        self, context: RequestContext, request: messages.ApiVersionsRequest
    ) -> messages.ApiVersionsResponse:
        if context.api_version >= 3:
            names = (request.client_software_name, request.client_software_version)
            if not all(_SOFTWARE.fullmatch(name) for name in names):
                return messages.ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
            context.connection.software_name, context.connection.software_version = names
        features = self._features()
        lowest_level = 0 if context.api_version >= 4 else 1
        return messages.ApiVersionsResponse(
            api_keys=[_row(route) for route in self._routes()],
            supported_features=[
                messages.ApiVersionsResponse.SupportedFeatureKey(name=name, min_version=low, max_version=high)
                for name, (low, high) in features.supported.items()
                if low >= lowest_level
            ],
            finalized_features_epoch=features.epoch,
            finalized_features=[
                messages.ApiVersionsResponse.FinalizedFeatureKey(
                    name=name, max_version_level=level, min_version_level=level
                )
                for name, level in features.finalized.items()
                if level
            ],
        )


def unsupported_version_response(route: Route) -> messages.ApiVersionsResponse:
    """The answer, always in version 0, to a version of ApiVersions that ``route`` does not serve."""
    return messages.ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[_row(route)])


def _row(route: Route) -> messages.ApiVersionsResponse.ApiVersion:
    return messages.ApiVersionsResponse.ApiVersion(
        api_key=route.key, min_version=route.min_version, max_version=route.max_version
    )
