"""Loads ``protocol_specs/``, one file at a time and only when something of it is asked for.

Parsing all files costs about 80 ms, one of them 1 ms. File names are the index: ``01_fetch.toml`` holds API
key 1 with the messages ``FetchRequest`` and ``FetchResponse``.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from pybroker.model.values import Value
from pybroker.protocol.spec_grammar import parse_file
from pybroker.protocol.spec_model import (
    FILE_NAME,
    NO_VERSIONS,
    PRIMITIVES,
    ApiDefinition,
    Default,
    FieldSpec,
    MessageSpec,
    SpecError,
    SpecFile,
    StructSpec,
    VersionRange,
    snake_case,
)

__all__ = [
    "NO_VERSIONS",
    "PRIMITIVES",
    "ApiDefinition",
    "ApiVersions",
    "Default",
    "FieldSpec",
    "MessageSpec",
    "SpecError",
    "SpecFile",
    "StructSpec",
    "VersionRange",
    "all_messages",
    "api_versions",
    "file_index",
    "find_message",
    "load_api",
    "load_file",
    "parse_file",
    "plain_files",
    "snake_case",
    "spec_folder",
]
_VERSION_LINES: Final = re.compile(
    r'^\[messages\.\w+Request\]\nversions = "(\d+)(?:-(\d+))?"\nflexible = "(?:none|(\d+)\+)"$', re.MULTILINE
)


class ApiVersions(Value):
    """What dispatch has to know about an API before its first message: name, versions, flexible versions."""

    key: int
    name: str
    versions: VersionRange
    flexible: VersionRange


@cache
def spec_folder() -> Path:
    """The folder with the spec files: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "specs", here.parent.parent / "protocol_specs"):
        if folder.is_dir():
            return folder
    raise SpecError(f"protocol specs are missing: no {here / 'specs'} and no protocol_specs/ folder")


@cache
def file_index() -> Mapping[int, str]:
    """API key to file stem, from the file names alone, sorted by key."""
    matches = (FILE_NAME.fullmatch(path.stem) for path in spec_folder().glob("*.toml"))
    return dict(sorted((int(match[1]), match[0]) for match in matches if match))


@cache
def plain_files() -> tuple[str, ...]:
    """Stems of the files without an API key: headers, coordinator records, consumer-protocol blobs."""
    return tuple(
        sorted(path.stem for path in spec_folder().glob("*.toml") if not FILE_NAME.fullmatch(path.stem))
    )


@cache
def load_file(stem: str) -> SpecFile:
    """Parse one file. Raises SpecError for a missing or wrong one."""
    return parse_file(stem, _read(stem))


def _read(stem: str) -> str:
    try:
        with open(f"{spec_folder()}/{stem}.toml", "rb") as file:
            return file.read().decode()
    except FileNotFoundError:
        raise SpecError(f"{stem}.toml: no such spec file in {spec_folder()}") from None


@cache
def api_versions(key: int) -> ApiVersions:
    """The versions of an API, read without parsing its file (0.05 ms), because start-up asks for every API.

    Raises KeyError when there is no spec for the key, SpecError when the file does not lead with these lines.
    """
    stem = file_index()[key]
    text = _read(stem)
    name = re.search(r'^name = "(\w+)"$', text, re.MULTILINE)
    lines = _VERSION_LINES.search(text)
    if name is None or lines is None:
        raise SpecError(f"{stem}.toml: name, versions and flexible are not on lines of their own")
    versions = VersionRange(int(lines[1]), int(lines[2] or lines[1]))
    flexible = NO_VERSIONS if lines[3] is None else VersionRange(int(lines[3]), versions.last)
    return ApiVersions(key, name[1], versions, flexible)


def load_api(key: int) -> ApiDefinition:
    """The request and response of an API key. Raises KeyError when there is no spec for it."""
    api = load_file(file_index()[key]).api
    assert api is not None, "parse_file refuses an API file without an api"
    return api


@cache
def _stem_by_api_name() -> Mapping[str, str]:
    return {stem.partition("_")[2]: stem for stem in file_index().values()}


def find_message(name: str) -> MessageSpec:
    """A message by its name, reading no more files than needed. Raises KeyError for an unknown name."""
    for suffix in ("Request", "Response"):
        stem = _stem_by_api_name().get(snake_case(name.removesuffix(suffix)))
        if stem is not None and name.endswith(suffix):
            message = load_file(stem).messages.get(name)
            if message is not None:
                return message
    for stem in plain_files():
        if f"[messages.{name}]" in _read(stem):
            return load_file(stem).messages[name]
    raise KeyError(name)


def all_messages() -> Mapping[str, MessageSpec]:
    """Every message of every file: for tools and tests, about 80 ms at first."""
    stems = (*file_index().values(), *plain_files())
    return {name: message for stem in stems for name, message in load_file(stem).messages.items()}
