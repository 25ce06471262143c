"""Levels of loggers in Kafka's names."""

import logging
from collections.abc import Iterator

import pytest

from pybroker.instruments import loggers

NAME = "pybroker.test.of.loggers"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.getLogger(NAME)
    yield one
    one.setLevel(logging.NOTSET)


def test_only_loggers_that_were_made_exist(logger: logging.Logger) -> None:
    assert loggers.exists(loggers.ROOT)
    assert loggers.exists(logger.name)
    assert not loggers.exists("pybroker.test.of"), "a parent that nobody asked for is only a placeholder"
    assert not loggers.exists("nobody")


@pytest.mark.parametrize("level", loggers.LEVELS)
def test_every_level_is_shown_as_it_was_set(logger: logging.Logger, level: str) -> None:
    loggers.set_level(logger.name, level)
    assert loggers.levels()[logger.name] == level


def test_a_logger_without_a_level_shows_that_of_its_parent(logger: logging.Logger) -> None:
    loggers.set_level(logger.name, "ERROR")
    child = logging.getLogger(f"{NAME}.child")
    loggers.set_level(child.name, "DEBUG")
    loggers.set_level(child.name, None)
    assert loggers.levels()[child.name] == "ERROR"


def test_levels_between_two_names_take_the_stricter_one(logger: logging.Logger) -> None:
    logger.setLevel(logging.INFO + 1)
    assert loggers.levels()[logger.name] == "WARN"
    logger.setLevel(1000)
    assert loggers.levels()[logger.name] == "FATAL"
