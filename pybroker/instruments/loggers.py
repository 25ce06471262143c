"""The levels of this process's loggers, seen and changed in Kafka's names (KIP-412).

``root`` is the root logger; every other name is a logger of Python's :mod:`logging` that exists already.
"""

import logging

ROOT = "root"
LEVELS = {
    "DEBUG": logging.DEBUG,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "INFO": logging.INFO,
    "TRACE": 5,
    "WARN": logging.WARNING,
}
"""Kafka's names, in the order in which its sentences list them. Python has no TRACE: it is below DEBUG."""


def levels() -> dict[str, str]:
    """Every logger with the level in force for it."""
    manager = logging.root.manager
    found = {ROOT: _name(logging.root.getEffectiveLevel())}
    for name, logger in sorted(manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            found[name] = _name(logger.getEffectiveLevel())
    return found


def exists(name: str) -> bool:
    return name == ROOT or isinstance(logging.root.manager.loggerDict.get(name), logging.Logger)


def set_level(name: str, level: str | None) -> None:
    """Sets one of ``LEVELS``; None lets the logger follow its parent again."""
    logger = logging.root if name == ROOT else logging.getLogger(name)
    logger.setLevel(logging.NOTSET if level is None else LEVELS[level])


def _name(number: int) -> str:
    """The name of the finest level that lets through no more than ``number`` does."""
    by_number = sorted((value, name) for name, value in LEVELS.items())
    return next((name for value, name in by_number if value >= number), "FATAL")
