"""The server under test, shared by all ecosystems of one run and brought back when a test left it dead."""

from collections.abc import Generator, Iterator

import pytest

from interop.support.servers import SERVERS, Server, make_server

WHOLE_SCALE = 10_000
QUICK_SCALE = 300
SERVER_LOG_LINES = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("interop")
    group.addoption("--server", choices=sorted(SERVERS), default="pybroker", help="the server under test")
    group.addoption("--quick", action="store_true", help="smaller counts, fewer combinations")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The quick part leaves out what carries the mark `whole`."""
    if not config.getoption("--quick"):
        return
    left_out = [item for item in items if item.get_closest_marker("whole")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the server wrote while it ran."""
    report = yield
    server = getattr(item, "funcargs", {}).get("_running_server")
    if report.failed and server is not None:
        report.sections.append(("the server's log", server.log_tail(SERVER_LOG_LINES)))
    return report


@pytest.fixture(scope="session")
def _running_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    server = make_server(pytestconfig.getoption("--server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(_running_server: Server) -> Server:
    """The one server of this run, alive when the test begins."""
    if not _running_server.is_running:
        _running_server.restart()
    return _running_server


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> int:
    """How many records a journey produces."""
    return QUICK_SCALE if pytestconfig.getoption("--quick") else WHOLE_SCALE
