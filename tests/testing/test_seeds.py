"""Seed files: what they say, and how mistakes in them are told."""

from pathlib import Path

import pytest

from pybroker.control.reading import BadInput
from pybroker.instruments.faults import FaultRule
from pybroker.testing.seeds import Seed, SeedOffset, SeedRecord, SeedTopic, load_seed

GOOD = """
topics:
  - name: orders
    partitions: 3
    configs: {cleanup.policy: compact, retention.ms: 1000}
    records:
      - {key: a, value: "1", headers: {trace: x}}
      - {value: two, partition: 2, timestamp_ms: 5}
offsets:
  - {group: g, topic: orders, offset: 1}
faults:
  - {api: Produce, topic: orders, error: NOT_ENOUGH_REPLICAS, times: 2}
"""


def load(tmp_path: Path, text: str) -> Seed:
    path = tmp_path / "seed.yaml"
    path.write_text(text)
    return load_seed(path)


def test_a_file_says_what_there_is(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == Seed(
        topics=(
            SeedTopic(
                name="orders",
                partitions=3,
                configs={"cleanup.policy": "compact", "retention.ms": "1000"},
                records=(
                    SeedRecord(key="a", value="1", headers={"trace": "x"}),
                    SeedRecord(value="two", partition=2, timestamp_ms=5),
                ),
            ),
        ),
        offsets=(SeedOffset(group="g", topic="orders", offset=1),),
        faults=(FaultRule(api=("Produce",), topic="orders", error="NOT_ENOUGH_REPLICAS", times=2),),
    )
    assert load(tmp_path, "") == Seed()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("topics:\n  - nam: orders\n", "line 2: topics[0].nam: unknown; did you mean name?"),
        ("topics:\n  - name: a\n  - partitions: 3\n", "line 3: topics[1]: name is missing"),
        (
            "topics:\n  - name: a\n    records:\n      - value: x\n        partition: one\n",
            "line 5: topics[0].records[0].partition: 'one' is not a whole number",
        ),
        ("users:\n  - name: a\n", "line 1: users: the broker has no users yet; leave them out"),
        ("topics: []\nacls: []\n", "line 2: acls: the broker has no ACLs yet; leave them out"),
        ("topics: [", "line 1, column 10"),
        ("- a\n", "line 1: the input: ['a'] is not a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        load(tmp_path, text)
    assert words in str(refused.value)
    assert "seed.yaml" in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"missing\.yaml: .*No such file"):
        load_seed(tmp_path / "missing.yaml")
