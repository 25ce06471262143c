"""The comparison itself: differences between our specs and the definitions of one or more Kafka releases."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from msgspec import Struct
from msgspec.structs import fields

from interop.spec_check.view import Definition, Flags, Row

IGNORABLE_BY_DESIGN = frozenset({("RequestHeader", "client_id")})
"""Kafka 4 lost the version that lacks this field, and with it the reason to be ignorable; we keep both."""


class Release(Struct, frozen=True):
    """What one Kafka release defines, by our message names."""

    name: str
    messages: Mapping[str, Sequence[Definition]]


class Difference(Struct, frozen=True):
    """One disagreement. ``superseded`` when a newer release sides with us for the same version."""

    release: str
    message: str
    version: int | None
    text: str
    superseded: bool = False

    def __str__(self) -> str:
        version = "" if self.version is None else f" v{self.version}"
        return f"{self.message}{version} ({self.release}): {self.text}"


class Report(Struct, frozen=True):
    """The outcome: what was compared and what differs."""

    messages: int
    versions: int
    fields: int
    """Fields of all versions and releases, counted once per version and release."""
    differences: tuple[Difference, ...]

    @property
    def failures(self) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differences if not difference.superseded)


def compare(ours: Mapping[str, Definition], releases: Sequence[Release]) -> Report:
    """Compare with all releases, oldest first.

    Every version that a release knows must be the same field by field. Two releases may disagree about one
    version (tagged fields are added without a new version): then ours must be the newer one's.
    """
    names = sorted(set(ours) | {name for release in releases for name in release.messages})
    differences: list[Difference] = []
    versions = rows = 0
    for name in names:
        theirs = [(release.name, found) for release in releases for found in release.messages.get(name, ())]
        if not theirs:
            differences.append(Difference("all", name, None, "no release defines this message"))
        elif name not in ours:
            differences.append(Difference(theirs[-1][0], name, None, "we have no spec for this message"))
        else:
            differences += _compare_message(ours[name], theirs)
            versions += sum(len(found.versions) for _, found in theirs)
            rows += sum(len(row) for _, found in theirs for row in found.rows.values())
    return Report(len(names), versions, rows, tuple(differences))


def _compare_message(ours: Definition, theirs: Sequence[tuple[str, Definition]]) -> Iterator[Difference]:
    known = {version for _, found in theirs for version in found.versions}
    for version in sorted(set(ours.versions) - known):
        yield Difference("all", ours.name, version, "no release knows this version")
    newest = {version: release for release, found in theirs for version in found.versions}
    flags: dict[str, tuple[str, Flags]] = {}
    for release, found in theirs:
        flags.update({path: (release, flag) for path, flag in found.flags.items()})
        for version in found.versions:
            superseded = newest[version] != release
            if version not in ours.versions:
                yield Difference(release, ours.name, version, "we lack this version")
                continue
            if (version in ours.flexible) != (version in found.flexible):
                text = f"flexible is {version in ours.flexible} here, {version in found.flexible} there"
                yield Difference(release, ours.name, version, text)
            for text in _compare_rows(ours.rows[version], found.rows[version]):
                yield Difference(release, ours.name, version, text, superseded)
    yield from _compare_flags(ours, flags)


def _compare_rows(ours: Sequence[Row], theirs: Sequence[Row]) -> Iterator[str]:
    mine, other = {row.path: row for row in ours}, {row.path: row for row in theirs}
    yield from (f"{path}: only here" for path in mine if path not in other)
    yield from (f"{path}: only there" for path in other if path not in mine)
    for path, row in mine.items():
        for attribute in fields(Row):
            here, there = getattr(row, attribute.name), getattr(other.get(path, row), attribute.name)
            if (here, type(here)) != (there, type(there)):
                yield f"{path}: {attribute.name} is {here!r} here, {there!r} there"
    shared = [row.path for row in ours if row.path in other]
    for here, there in zip_longest(shared, (row.path for row in theirs if row.path in mine)):
        if here != there:
            yield f"the order differs: {here} here, {there} there"
            return


def _compare_flags(ours: Definition, flags: Mapping[str, tuple[str, Flags]]) -> Iterator[Difference]:
    for path, (release, flag) in flags.items():
        mine = ours.flags.get(path, flag)
        if mine.map_key != flag.map_key:
            yield Difference(release, ours.name, None, f"{path}: key is {mine.map_key} here")
        if mine.ignorable != flag.ignorable and (ours.name, path) not in IGNORABLE_BY_DESIGN:
            yield Difference(release, ours.name, None, f"{path}: ignorable is {mine.ignorable} here")
