"""What was made of the specs outlives its process, and never what it was made of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pybroker.protocol import kept

ANSWER = """
import sys
from pybroker.protocol.codec import decode_exactly, encode
from pybroker.protocol.messages import MetadataRequest

topic = MetadataRequest.MetadataRequestTopic(name="orders")
request = MetadataRequest(topics=[topic])
assert decode_exactly(MetadataRequest, 12, encode(request, 12)) == request
print(*sorted({"construct", "tomllib"} & sys.modules.keys()))
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where this test's things are kept."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_kept_is_found_again(folder: Path) -> None:
    code = compile("answer = 42", "<test>", "exec")
    assert kept.load("one", "source") is None
    kept.keep("one", "source", code)
    assert kept.load("one", "source") == code
    assert kept.load("other", "source") is None
    assert len(files(folder)) == 1


def test_what_was_made_of_something_else_does_not_count() -> None:
    kept.keep("one", "source", [1])
    assert kept.load("one", "changed source") is None
    kept.keep("one", "changed source", [2])
    assert kept.load("one", "changed source") == [2]


def test_a_changed_file_is_something_else(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_text("one")
    before = kept.files(str(file))
    assert kept.files(str(file)) == before
    file.write_text("more")
    assert kept.files(str(file)) != before


@pytest.mark.parametrize("size", [0, 10, 32, 35])
def test_a_damaged_file_is_as_good_as_none(folder: Path, size: int) -> None:
    kept.keep("one", "source", [1, 2, 3])
    (file,) = files(folder)
    file.write_bytes(file.read_bytes()[:size])
    assert kept.load("one", "source") is None


def test_nothing_is_kept_where_no_bytecode_may_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept.keep("one", "source", [1])
    assert files(folder) == []


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setattr(sys, "pycache_prefix", str(folder / "file"))
    kept.keep("one", "source", [1])
    assert kept.load("one", "source") is None


def test_a_later_process_needs_neither_construct_nor_toml(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", ANSWER]
    answers = [subprocess.check_output(command, env=environment, text=True) for _ in range(2)]
    assert answers == ["construct tomllib\n", "\n"]
