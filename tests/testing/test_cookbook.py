"""Every test that the pages show runs as it stands there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COOKBOOK = (ROOT / "pybroker" / "testing" / "README.md").read_text()
FRONT_PAGE = (ROOT / "README.md").read_text()
SECTION = re.compile(r"^## (?P<title>[^\n]+)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipes() -> Iterator[tuple[str, str]]:
    """The name and the source of each test module that is shown."""
    in_tests = [section for section in SECTION.finditer(FRONT_PAGE) if section["title"] == "In your tests"]
    for section in (*SECTION.finditer(COOKBOOK), *in_tests):
        (source,) = BLOCK.findall(section["body"])
        yield "test_" + re.sub(r"\W+", "_", section["title"]).strip("_").lower(), source


def test_every_recipe_passes(pytester: pytest.Pytester) -> None:
    sources = dict(recipes())
    assert len(sources) == COOKBOOK.count("```python") + 1 > 1
    count = sum(source.count("def test_") for source in sources.values())
    pytester.makepyfile(**sources)
    result = pytester.runpytest_subprocess("--durations=10", "-p", "no:xdist", "-W", "ignore", timeout=100)
    result.assert_outcomes(passed=count)
