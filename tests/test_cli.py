"""The command line: what it prints, where, and with which exit code."""

import logging
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybroker import __version__
from pybroker.app.announcement import Announcement
from pybroker.config.broker import BrokerConfig
from pybroker.model.errors import StartupError
from tests.support.command_line import run


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[BrokerConfig]:
    """The configurations that would have been served; no broker starts."""
    configs: list[BrokerConfig] = []

    def serve(config: BrokerConfig, announcement: Announcement) -> int:
        configs.append(config)
        return 0

    _replace_app(monkeypatch, serve)
    return configs


def _replace_app(monkeypatch: pytest.MonkeyPatch, serve: object) -> None:
    app = types.ModuleType("pybroker.app")
    app.serve = serve  # type: ignore[attr-defined]
    app.Announcement = Announcement  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pybroker.app", app)
    monkeypatch.setattr("pybroker.app", app, raising=False)
    monkeypatch.setattr("os.environ", {})


def test_version_and_help_need_nothing_else() -> None:
    assert run(["--version"]).output == f"pybroker, version {__version__}\n"
    text = run(["serve", "--help"]).output
    for word in ("127.0.0.1:9092", "./pybroker-data", "--override", "--log-level", "--log-format"):
        assert word in text


def test_serve_without_arguments_serves_the_single_node_profile(served: list[BrokerConfig]) -> None:
    result = run(["serve"])
    assert result.exit_code == 0
    assert served[0].log_dirs == ("./pybroker-data",)


def test_file_and_options_reach_the_broker(served: list[BrokerConfig], tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_text("broker.id=3\nno.such=1\n")
    result = run(["serve", str(file), "-o", "num.partitions=5"])
    assert result.exit_code == 0
    assert (served[0].broker_id, served[0].num_partitions) == (3, 5)
    assert "WARNING pybroker: " in result.errors
    assert "unknown key no.such is ignored" in result.errors


def test_a_bad_value_is_one_line_and_exit_code_2(served: list[BrokerConfig]) -> None:
    result = run(["serve", "--override", "num.partitions=0"])
    assert result.exit_code == 2
    assert result.errors == (
        "pybroker: --override: num.partitions=0: Value must be at least 1; allowed: int [1,...]\n"
    )
    assert served == []


def test_a_broker_that_cannot_start_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(config: BrokerConfig, announcement: Announcement) -> int:
        raise StartupError("127.0.0.1:9092 is in use")

    _replace_app(monkeypatch, serve)
    result = run(["serve"])
    assert result.exit_code == 1
    assert result.errors == "pybroker: 127.0.0.1:9092 is in use\n"


def test_the_command_line_loads_neither_trio_nor_the_broker() -> None:
    program = (
        "import sys, pybroker.cli, pybroker.config.loading; "
        "print([m for m in ('trio', 'construct', 'javaproperties', 'pybroker.server') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_a_wrong_argument_is_named_with_exit_code_2(seconds: str) -> None:
    result = run(["health", "--timeout", seconds])
    assert result.exit_code == 2
    assert f"argument --timeout: {seconds!r} is not a number above 0" in result.errors


def test_without_a_command_the_line_says_that_one_is_missing() -> None:
    result = run([])
    assert result.exit_code == 2
    assert "required: COMMAND" in result.errors


def test_unknown_arguments_are_refused_by_the_command_that_does_not_know_them() -> None:
    result = run(["serve", "--over", "a=b"])
    assert result.exit_code == 2
    assert result.errors.startswith("usage: pybroker serve ")
    assert "unknown: --over" in result.errors


def test_a_directory_in_the_place_of_a_file_is_a_wrong_argument(tmp_path: Path) -> None:
    for arguments in (["serve", str(tmp_path)], ["health", "--addresses-file", str(tmp_path)]):
        result = run(arguments)
        assert result.exit_code == 2
        assert f"{str(tmp_path)!r} is a directory" in result.errors


def test_an_interruption_is_one_line_and_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(config: BrokerConfig, announcement: Announcement) -> int:
        raise KeyboardInterrupt

    _replace_app(monkeypatch, serve)
    result = run(["serve"])
    assert (result.exit_code, result.errors) == (130, "pybroker: interrupted\n")
