"""What holds for the whole suite."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.support.tools import ToolMissing
from interop.support.zookeeper import ZooKeeperServer

TESTS = Path(__file__).parent
ROOMS_NEAR_THE_SYSTEM = frozenset({"server", "storage", "replication", "handlers"})
"""Their tests run once more with every portable fallback forced (``make test``)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if room in ROOMS_NEAR_THE_SYSTEM:
            item.add_marker(pytest.mark.fallbacks)


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeperServer]:
    """A real ZooKeeper, one for the whole run; each test has its own chroot.

    Where it cannot be had its tests are skipped, and the summary's line says why; in CI they fail.
    """
    try:
        server = ZooKeeperServer()
        server.start()
    except ToolMissing as reason:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"there is no ZooKeeper: {reason}")
    yield server
    server.stop()
