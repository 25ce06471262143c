"""Long work shows how far it is: a bar on a terminal, log lines elsewhere, nothing when it is short."""

import io
import logging

import pytest

from pybroker.instruments.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Stopwatch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end() -> None:
    terminal, clock = Terminal(), Stopwatch()
    line = ProgressLine("recovering", "partitions", stream=terminal, now_s=clock)
    line.update(1, 8)
    assert terminal.getvalue() == ""
    clock.now += 1
    line.update(4, 8, "/data/one")
    (drawn,) = terminal.getvalue().split("\r")[1:]
    assert "/data/one" in drawn
    assert drawn.endswith(" 4/8 partitions")
    assert drawn.count("#") == drawn.count(".") > 0
    line.finish()
    assert terminal.getvalue().endswith("\r" + " " * len(drawn) + "\r")


def test_a_narrow_terminal_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal, clock = Terminal(), Stopwatch()
    line = ProgressLine("recovering", "partitions", stream=terminal, now_s=clock)
    clock.now += 1
    line.update(4, 8, "/a/very/long/path/to/some/log/directory")
    assert len(terminal.getvalue()) <= 30
    assert terminal.getvalue().endswith("directory 4/8 partitions")


def test_elsewhere_there_is_a_log_line_every_five_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = Stopwatch()
    line = ProgressLine("recovering", "partitions", stream=io.StringIO(), now_s=clock)
    with caplog.at_level(logging.INFO):
        for done in range(1, 13):
            clock.now += 1
            line.update(done, 12, "/data")
        line.finish()
    assert caplog.messages == [
        "recovering /data: 5 of 12 partitions",
        "recovering /data: 10 of 12 partitions",
    ]
