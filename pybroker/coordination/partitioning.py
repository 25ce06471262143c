"""Which partition of a coordinator's topic holds a group or a transactional id."""

import sys

_UTF_16 = f"utf-16-{sys.byteorder[0]}e"
"""As this machine has it, so that the units can be read as numbers."""


def java_string_hash(text: str) -> int:
    """``java.lang.String.hashCode``: over UTF-16 code units, wrapping at 32 bits, signed."""
    units: bytes | memoryview = text.encode() if text.isascii() else _code_units(text)
    value = 0
    for unit in units:
        value = (31 * value + unit) & 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


def _code_units(text: str) -> memoryview:
    return memoryview(text.encode(_UTF_16, "surrogatepass")).cast("H")


def coordinator_partition(key: str, partitions: int) -> int:
    """``Utils.abs(key.hashCode) % partitions``, where the smallest int counts as 0."""
    hashed = java_string_hash(key)
    return (0 if hashed == -0x80000000 else abs(hashed)) % partitions
