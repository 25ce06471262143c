"""pytest plugin: client x feature x result x seconds, as a table at the end and as JSON."""

import json
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import asdict

FAILURE_WIDTH = 160


class Row(Struct):
    """One line of the matrix."""

    ecosystem: str
    client: str
    feature: str
    result: str
    seconds: float
    reason: str = ""


class Matrix:
    """Collects rows from the test reports of one run."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._skipped: set[str] = set()

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def add(self, report: pytest.TestReport) -> None:
        """A test is one row; a failing set-up or tear-down fails it, a skip leaves no row."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._rows.pop(report.nodeid, None)
            self._skipped.add(report.nodeid)
        if report.nodeid in self._skipped:
            return
        properties = dict(report.user_properties)
        row = self._rows.setdefault(report.nodeid, Row(_ecosystem(report.nodeid), "?", "?", "passed", 0.0))
        row.client = str(properties.get("client", row.client))
        row.feature = str(properties.get("feature", row.feature))
        row.seconds += report.duration
        if report.failed:
            row.result = "FAILED"
            row.reason = _first_line(report)
        elif report.skipped:
            row.result, row.reason = "client's fault", report.wasxfail

    def table(self) -> str:
        header = ("ecosystem", "client", "feature", "result", "seconds")
        lines = [
            (row.ecosystem, row.client, row.feature, row.result, f"{row.seconds:.1f}") for row in self.rows
        ]
        widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
        rule = tuple("-" * width for width in widths)
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [header, rule, *lines]
        )

    def write_json(self, path: Path, server: str) -> None:
        path.write_text(
            json.dumps({"server": server, "rows": [asdict(row) for row in self.rows]}, indent=1) + "\n"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("interop").addoption(
        "--json", type=Path, default=None, help="write the matrix to this file"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MATRIX] = Matrix()
    config.pluginmanager.register(_Collector(config.stash[MATRIX]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    matrix = config.stash[MATRIX]
    if not matrix.rows:
        return
    server = str(config.getoption("--server"))
    terminalreporter.section(f"matrix against {server}")
    terminalreporter.write_line(matrix.table())
    target: Path | None = config.getoption("--json")
    if target is not None:
        matrix.write_json(target, server)


MATRIX = pytest.StashKey[Matrix]()


class _Collector:
    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        item.user_properties.append(("feature", _feature(item)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item):  # type: ignore[no-untyped-def]
        client = getattr(item, "funcargs", {}).get("client")
        if client is not None:
            item.user_properties.append(("client", f"{client.name} {client.version}"))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._matrix.add(report)


def _feature(item: pytest.Item) -> str:
    return item.name.removeprefix("test_").replace("_", " ").replace("[", " [")


def _ecosystem(nodeid: str) -> str:
    parts = nodeid.split("::")[0].split("/")
    return parts[-2] if len(parts) > 1 else parts[0]


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return str(text.splitlines()[0])[:FAILURE_WIDTH] if text else "?"
