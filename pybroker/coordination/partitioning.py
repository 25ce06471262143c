"""Which partition of a coordinator's topic holds a group or a transactional id."""


def java_string_hash(text: str) -> int:
    """``java.lang.String.hashCode``: over UTF-16 code units, wrapping at 32 bits, signed."""
    value = 0
    encoded = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(encoded[::2], encoded[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


def coordinator_partition(key: str, partitions: int) -> int:
    """``Utils.abs(key.hashCode) % partitions``, where the smallest int counts as 0."""
    hashed = java_string_hash(key)
    return (0 if hashed == -0x80000000 else abs(hashed)) % partitions
