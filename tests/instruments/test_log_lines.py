"""How a record looks on its way out, and on which stream."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from pybroker.instruments.log_lines import configure_logging


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_log_line_is_an_object_with_the_exception(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("pybroker.storage").exception("log %s failed", "a-0")
    logging.getLogger("pybroker.storage").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event["level"] == "ERROR"
    assert event["logger"] == "pybroker.storage"
    assert event["message"] == "log a-0 failed"
    assert event["exception"].endswith("ValueError: why")
    assert event["time"].endswith("+00:00")


def test_kafkas_layout_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "kafka")
    logging.getLogger("kafka.server.KafkaServer").info("[KafkaServer id=%d] started", 1)
    logging.getLogger("pybroker").warning("look")
    written = capsys.readouterr()
    first, second = written.out.splitlines()
    date = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]"
    assert re.fullmatch(date + r" INFO \[KafkaServer id=1\] started \(kafka\.server\.KafkaServer\)", first)
    assert re.fullmatch(date + r" WARN look \(pybroker\)", second)
    assert written.err == ""
