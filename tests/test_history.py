"""The checker of histories finds what must not happen, and nothing else."""

import pytest

from pybroker.model.ids import TopicPartition
from tests.support.history import (
    Commit,
    History,
    Sent,
    wrong_in_commits,
    wrong_in_copy,
    wrong_in_log,
    wrong_in_replicas,
)

TP = TopicPartition("orders", 0)


def acknowledged(*numbers: int) -> History:
    history = History()
    for number in numbers:
        history.acknowledge(TP, Sent("a", number))
    return history


def log(*numbers: int, producer: str = "a") -> list[Sent]:
    return [Sent(producer, number) for number in numbers]


@pytest.mark.parametrize(
    "records",
    [
        log(0, 1, 2),
        [*log(0, 1), *log(0, 1, producer="b"), *log(2)],
        log(0, 1, 2, 3),
    ],
    ids=["what was acknowledged", "two producers", "a record whose acknowledgement was lost"],
)
def test_good_logs(records: list[Sent]) -> None:
    assert wrong_in_log(acknowledged(0, 1, 2), TP, records) == []


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        (log(0, 2), "missing"),
        (log(0, 1), "missing"),
        (log(0, 1, 1, 2), "comes after"),
        (log(0, 2, 1), "comes after"),
        (log(0, 1, 2, 0), "comes after"),
        ([], "3 acknowledged records are missing"),
    ],
    ids=["lost in between", "lost at the end", "twice", "out of order", "twice, later", "all lost"],
)
def test_bad_logs(records: list[Sent], complaint: str) -> None:
    (wrong,) = wrong_in_log(acknowledged(0, 1, 2), TP, records)
    assert complaint in wrong


def commits(*entries: tuple[int, float, float]) -> History:
    return History(commits=[Commit(TP, *entry) for entry in entries])


def test_good_commits() -> None:
    overlapping = commits((5, 0.0, 3.0), (4, 1.0, 2.0), (5, 4.0, 5.0), (9, 6.0, 7.0))
    assert wrong_in_commits(overlapping, {TP: 9}) == []
    assert wrong_in_commits(overlapping, {TP: 12}) == []


@pytest.mark.parametrize(
    ("history", "final", "complaint"),
    [
        (commits((5, 0.0, 1.0), (4, 2.0, 3.0)), {TP: 5}, "4 was committed after 5"),
        (commits((5, 0.0, 1.0), (8, 2.0, 9.0), (3, 2.5, 3.0)), {TP: 8}, "3 was committed after 5"),
        (commits((5, 0.0, 1.0)), {TP: 4}, "is what is left"),
        (commits((5, 0.0, 1.0)), {}, "is what is left"),
    ],
    ids=["went back", "went back beside another", "the end is behind", "nothing is left"],
)
def test_bad_commits(history: History, final: dict[TopicPartition, int], complaint: str) -> None:
    (wrong,) = wrong_in_commits(history, final)
    assert complaint in wrong


def test_replicas() -> None:
    batches = [(0, b"abc"), (3, b"def")]
    assert wrong_in_replicas(TP, {0: batches, 1: list(batches), 2: list(batches)}) == []
    assert "differ from offset 3" in wrong_in_replicas(TP, {0: batches, 1: [(0, b"abc"), (3, b"dEf")]})[0]
    assert "differ from offset 2" in wrong_in_replicas(TP, {0: batches, 1: [(0, b"abc"), (2, b"def")]})[0]
    assert "2 batches" in wrong_in_replicas(TP, {0: batches, 1: batches[:1]})[0]


def test_a_good_copy() -> None:
    source = [*log(0, 1), *log(0, producer="b"), *log(2)]
    assert wrong_in_copy(TP, source, list(source)) == []


@pytest.mark.parametrize(
    ("copy", "complaint"),
    [
        (log(0, 2), "not copied"),
        (log(0, 1), "not copied"),
        (log(0, 1, 1, 2), "more than once"),
        (log(0, 1, 2, 0), "more than once"),
        (log(0, 1, 2, 3), "not of the source"),
        (log(0, 2, 1), "the order"),
        ([], "3 records were not copied"),
    ],
    ids=[
        "lost in between",
        "lost at the end",
        "twice",
        "twice, later",
        "from nowhere",
        "swapped",
        "all lost",
    ],
)
def test_bad_copies(copy: list[Sent], complaint: str) -> None:
    (wrong,) = wrong_in_copy(TP, log(0, 1, 2), copy)
    assert complaint in wrong
