"""Two plain replies side by side: which fields differ."""

import re
from collections.abc import Iterator

from attrs import frozen

from interop.differential.plain import Plain


@frozen
class FieldDifference:
    """One field: where it is, and what Apache Kafka and pybroker say."""

    path: str
    """With indices, as in ``topics[0].partitions[2].error_code``."""
    apache: Plain
    pybroker: Plain

    @property
    def pattern(self) -> str:
        """The path without indices."""
        return re.sub(r"\[\d+\]", "", self.path)


def differences(apache: Plain, pybroker: Plain, path: str = "") -> Iterator[FieldDifference]:
    """Every field that is not the same in both, in wire order."""
    if isinstance(apache, dict) and isinstance(pybroker, dict):
        names = [*apache, *(name for name in pybroker if name not in apache)]
        for name in names:
            inner = f"{path}.{name}" if path else name
            yield from differences(apache.get(name), pybroker.get(name), inner)
    elif isinstance(apache, list) and isinstance(pybroker, list) and len(apache) == len(pybroker):
        for index, (left, right) in enumerate(zip(apache, pybroker, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    elif apache != pybroker:
        yield FieldDifference(path, apache, pybroker)
