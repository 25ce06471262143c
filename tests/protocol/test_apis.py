"""The table of APIs: versions and header versions as Kafka derives them."""

import sys
from pathlib import Path

import pytest

from pybroker.protocol import apis, specs
from pybroker.protocol.apis import api_by_key
from pybroker.protocol.messages import FetchRequest, FetchResponse


def test_the_table_says_what_the_specs_say() -> None:
    """It is read by a shortcut, not by the parser."""
    assert list(api_by_key) == sorted(api_by_key)
    for key, api in api_by_key.items():
        parsed = specs.load_api(key)
        for message in (parsed.request, parsed.response):
            assert api.versions == (message.versions.first, message.versions.last)
            assert api.flexible_from == (message.flexible.first if message.flexible else None), api.name
        assert (api.key, api.name) == (parsed.key, parsed.name)


def test_message_classes_of_an_api() -> None:
    assert api_by_key[1].request is FetchRequest
    assert api_by_key[1].response is FetchResponse


@pytest.mark.parametrize(
    ("key", "version", "request_header", "response_header"),
    [
        (0, 8, 1, 0),
        (0, 9, 2, 1),
        (7, 0, 0, 0),
        (7, 1, 1, 0),
        (7, 3, 2, 1),
        (17, 1, 1, 0),
        (18, 0, 1, 0),
        (18, 3, 2, 0),
        (18, 99, 2, 0),
    ],
)
def test_header_versions(key: int, version: int, request_header: int, response_header: int) -> None:
    assert api_by_key[key].request_header_version(version) == request_header
    assert api_by_key[key].response_header_version(version) == response_header


def test_the_table_is_read_without_parsing_a_spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start-up waits for it: 6 ms this way, 90 ms with all files parsed."""

    def refuse(*_args: object) -> None:
        raise AssertionError("a spec was parsed")

    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(specs, "parse_file", refuse)
    specs.api_versions.cache_clear()
    assert apis._read_apis() == api_by_key
