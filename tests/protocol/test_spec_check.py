"""The checker of specs against Kafka's definitions finds every kind of change."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interop.spec_check import kafka, ours
from interop.spec_check.__main__ import main
from interop.spec_check.compare import Release, Report, compare
from pybroker.protocol import specs
from pybroker.protocol.spec_grammar import parse_file

SPEC = """
[messages.Thing]
versions = "0-3"
flexible = "2+"
fields = [
  "name        string    0+  key",
  "old_note    string?   0   ignorable",
  "parts       []Part?   1+  default=null",
  "limit       int32     0+  default=0x10",
  "label       string    0+  flexible=none",
  "second_tag  int8      2+  tag=1",
  "first_tag   int8      2+  tag=0",
]
[messages.Thing.structs.Part]
fields = ["id uuid 1+", "on bool 2+ default=true"]
"""

KAFKA: dict[str, Any] = {
    "type": "data",
    "name": "Thing",
    "validVersions": "0-3",
    "flexibleVersions": "2+",
    "fields": [
        {"name": "Name", "type": "string", "versions": "0+", "mapKey": True, "about": "A name."},
        {"name": "OldNote", "type": "string", "versions": "0", "nullableVersions": "0+", "ignorable": True},
        {
            "name": "Parts",
            "type": "[]Part",
            "versions": "1+",
            "nullableVersions": "1+",
            "default": "null",
            "fields": [
                {"name": "Id", "type": "uuid", "versions": "0+"},
                {"name": "On", "type": "bool", "versions": "2+", "default": "true"},
            ],
        },
        {"name": "Limit", "type": "int32", "versions": "0+", "default": 16},
        {"name": "Label", "type": "string", "versions": "0+", "flexibleVersions": "none"},
        {"name": "FirstTag", "type": "int8", "versions": "2+", "taggedVersions": "2+", "tag": 0},
        {"name": "SecondTag", "type": "int8", "versions": "2+", "taggedVersions": "2+", "tag": 1},
    ],
}


def check(*releases: dict[str, Any]) -> Report:
    mine = {"Thing": ours.definition(parse_file("things", SPEC).messages["Thing"])}
    return compare(
        mine,
        [
            Release(f"release {number}", {"Thing": [kafka.definition(data)]})
            for number, data in enumerate(releases)
        ],
    )


def test_equal_definitions_have_no_difference() -> None:
    report = check(KAFKA)
    assert report.differences == ()
    assert (report.messages, report.versions) == (1, 4)
    assert report.fields == 4 + 5 + 8 + 8


def doctored(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    data = copy.deepcopy(KAFKA)
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.update(validVersions="0-4"), "Thing v4 (release 0): we lack this version"),
        (lambda d: d.update(validVersions="0-2"), "Thing v3 (all): no release knows this version"),
        (
            lambda d: d.update(flexibleVersions="3+"),
            "Thing v2 (release 0): flexible is True here, False there",
        ),
        (lambda d: d["fields"][0].update(name="Title"), "Thing v0 (release 0): name: only here"),
        (lambda d: d["fields"][0].update(type="bytes"), "name: type is 'string' here, 'bytes' there"),
        (lambda d: d["fields"][0].update(mapKey=False), "Thing (release 0): name: key is True here"),
        (lambda d: d["fields"][1].update(versions="0-1"), "Thing v1 (release 0): old_note: only there"),
        (lambda d: d["fields"][1].update(ignorable=False), "old_note: ignorable is True here"),
        (lambda d: d["fields"][1].pop("nullableVersions"), "old_note: nullable is True here, False there"),
        (lambda d: d["fields"][2].pop("default"), "parts: default is None here, () there"),
        (lambda d: d["fields"][2].update(type="Part"), "parts: type is '[]Part' here, 'Part' there"),
        (lambda d: d["fields"][2]["fields"].pop(0), "Thing v1 (release 0): parts.id: only here"),
        (lambda d: d["fields"][2]["fields"][1].pop("default"), "parts.on: default is True here, False there"),
        (lambda d: d["fields"][3].update(default="17"), "limit: default is 16 here, 17 there"),
        (lambda d: d["fields"][4].pop("flexibleVersions"), "label: compact is False here, True there"),
        (lambda d: d["fields"][5].update(tag=2), "first_tag: tag is 0 here, 2 there"),
        (lambda d: d["fields"].insert(0, d["fields"].pop(3)), "the order differs: name here, limit there"),
    ],
)
def test_a_doctored_definition_is_found(change: Callable[[dict[str, Any]], object], complaint: str) -> None:
    failures = [str(difference) for difference in check(doctored(change)).failures]
    assert any(complaint in failure for failure in failures), failures


def test_of_two_releases_that_know_a_version_the_newer_one_counts() -> None:
    before = doctored(lambda data: data["fields"].pop(6))
    report = check(before, KAFKA)
    assert report.failures == ()
    assert {str(difference) for difference in report.differences} == {
        f"Thing v{version} (release 0): second_tag: only here" for version in (2, 3)
    }
    assert check(KAFKA, before).failures != ()


def test_versions_of_all_releases_together_are_ours() -> None:
    old = doctored(lambda data: data.update(validVersions="0-1"))
    new = doctored(lambda data: data.update(validVersions="2-3"))
    assert check(old, new).failures == ()


def test_a_key_of_a_coordinator_record_has_its_type_as_version() -> None:
    found = kafka.definition({**KAFKA, "type": "coordinator-key", "apiKey": 7, "validVersions": "0"})
    assert found.versions == (7,)


def test_the_command_names_the_change_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder named in the environment, with comments in its JSON as Kafka's files have them."""
    header = {
        "type": "header",
        "name": "ResponseHeader",
        "validVersions": "0-1",
        "flexibleVersions": "1+",
        "fields": [{"name": "CorrelationId", "type": "int32", "versions": "0+"}],
    }
    monkeypatch.setenv("PYBROKER_KAFKA_MESSAGES", str(tmp_path))
    monkeypatch.setattr(specs, "all_messages", lambda: specs.load_file("headers").messages)
    (tmp_path / "ResponseHeader.json").write_text("// a comment\n" + json.dumps(header))
    assert main([]) == 1
    assert "RequestHeader (all): no release defines this message" in capsys.readouterr().out
    header["fields"][0]["type"] = "int64"  # type: ignore[index]
    (tmp_path / "ResponseHeader.json").write_text(json.dumps(header))
    main([])
    assert "correlation_id: type is 'int32' here, 'int64' there" in capsys.readouterr().out
