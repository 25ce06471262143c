"""What holds for the whole suite."""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from interop.support.tools import ToolMissing
from interop.support.zookeeper import ZooKeeperServer

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parent
ROOMS_NEAR_THE_SYSTEM = frozenset({"server", "storage", "replication", "handlers"})
"""Their tests run once more with every portable fallback forced (``make test``)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if room in ROOMS_NEAR_THE_SYSTEM:
            item.add_marker(pytest.mark.fallbacks)


class NoZooKeeper(pytest.skip.Exception):
    """Raised for every test that needs one where it cannot be had."""


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeperServer]:
    """A real ZooKeeper, one for the whole run; each test has its own chroot.

    Where it cannot be had its tests are skipped, and one line of the summary says which; in CI they fail.
    """
    try:
        server = ZooKeeperServer()
        server.start()
    except ToolMissing as reason:
        if os.environ.get("CI") == "true":
            raise
        raise NoZooKeeper(f"there is no ZooKeeper: {reason}") from reason
    yield server
    server.stop()


_without_zookeeper: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """All tests without a ZooKeeper are one line of pytest's own list."""
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(NoZooKeeper):
        _without_zookeeper[item.location[0]] += 1
        report.longrepr = (__file__, 0, f"Skipped: {call.excinfo.value}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _without_zookeeper:
        counts = ", ".join(f"{path} ({count})" for path, count in sorted(_without_zookeeper.items()))
        terminalreporter.write_line(f"not run without ZooKeeper: {counts}")
