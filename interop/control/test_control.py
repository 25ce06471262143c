"""A test in any language controls the broker over HTTP: one example each, with that language's own client.

Each adds a fault, produces with its client, sees that the fault befell it and that the record is there all
the same, and resets.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interop.support.golang import program
from interop.support.jvm import compiled
from interop.support.npm import command as node_command
from interop.support.process import LOCALHOST
from interop.support.servers import PybrokerServer, free_port
from interop.support.tools import require_tool

INTEROP = Path(__file__).resolve().parent.parent
TIMEOUT_S = 60


def python() -> list[str]:
    return [sys.executable, str(INTEROP / "control" / "example.py")]


def java() -> list[str]:
    return [
        require_tool("java", "default-jdk-headless"),
        "-cp",
        compiled("ControlExample", "clients-3.9"),
        "ControlExample",
    ]


def go() -> list[str]:
    return [str(program(INTEROP / "go", "cmd/control", "control"))]


def node() -> list[str]:
    return node_command(INTEROP / "node", "control")


@pytest.fixture(scope="module")
def control_url() -> Iterator[str]:
    """A broker that is controlled over HTTP; what it is told is its own and no other test's."""
    port = free_port()
    server = PybrokerServer({"pybroker.control.listener": f"{LOCALHOST}:{port}"})
    server.start()
    yield f"http://{LOCALHOST}:{port}"
    server.stop()


@pytest.mark.parametrize(
    "example",
    [python, *(pytest.param(each, marks=pytest.mark.whole) for each in (java, go, node))],
    ids=["python", "java", "go", "node"],
)
def test_control_over_http(control_url: str, example: Callable[[], list[str]]) -> None:
    done = subprocess.run(
        [*example(), control_url], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"fired": 1, "records": ["one"], "left": 0}
