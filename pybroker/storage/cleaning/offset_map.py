"""The latest offset of every key in the dirty part of a log, within a fixed number of bytes.

24 bytes a slot, as Kafka's ``SkimpyOffsetMap``: a 16-byte hash of the key and an offset. The hashes lie in
one ``bytearray``, so that the probing of neighbours is a search in C.
"""

from array import array
from hashlib import blake2b

from pybroker.model.ids import Offset

_HASH_BYTES = 16
BYTES_PER_SLOT = _HASH_BYTES + 8
_EMPTY = bytes(_HASH_BYTES)


class OffsetMap:
    """Never forgets and never grows: :attr:`is_full` says when no further key may be put.

    Two keys with one hash would count as the same; with 128 bits that does not happen.

    Args:
        memory_bytes: what hashes and offsets may take together.
        load_factor: the share of the slots that may be used.
    """

    def __init__(self, memory_bytes: int, load_factor: float = 0.9) -> None:
        # One slot always stays empty: a probe must end.
        self._slots = max(2, memory_bytes // BYTES_PER_SLOT)
        self._hashes = bytearray(self._slots * _HASH_BYTES)
        self._offsets = array("q", bytes(self._slots * 8))
        self._limit = min(self._slots - 1, max(1, int(self._slots * load_factor)))
        self._count = 0
        self.latest_offset: Offset = -1
        """The last offset that the map knows all about."""

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether the next key may not be put."""
        return self._count >= self._limit

    @property
    def utilization(self) -> float:
        """The share of the slots that are used."""
        return self._count / self._slots

    def put(self, key: bytes, offset: Offset) -> None:
        """Notes a key's latest offset.

        Raises:
            OverflowError: every slot but one is taken.
        """
        hashed = blake2b(key, digest_size=_HASH_BYTES).digest()
        slot, found = self._find(hashed)
        if not found:
            if self._count == self._slots - 1:
                raise OverflowError("the offset map is full")
            self._hashes[slot * _HASH_BYTES : (slot + 1) * _HASH_BYTES] = hashed
            self._count += 1
        self._offsets[slot] = self.latest_offset = offset

    def get(self, key: bytes) -> Offset:
        """A key's latest offset; -1 when it was not put."""
        slot, found = self._find(blake2b(key, digest_size=_HASH_BYTES).digest())
        return self._offsets[slot] if found else -1

    def _find(self, hashed: bytes) -> tuple[int, bool]:
        """The slot of a hash, or the empty one where it would be put."""
        slot = hash(hashed) % self._slots
        start = slot * _HASH_BYTES
        first = self._hashes[start : start + _HASH_BYTES]
        if first == hashed:
            return slot, True
        if first == _EMPTY:
            return slot, False
        while True:
            end = self._aligned(_EMPTY, start, len(self._hashes))
            found = self._aligned(hashed, start, len(self._hashes) if end < 0 else end)
            if found >= 0:
                return found // _HASH_BYTES, True
            if end >= 0:
                return end // _HASH_BYTES, False
            start = 0

    def _aligned(self, wanted: bytes, start: int, end: int) -> int:
        """Like ``bytearray.find``, at slots only: bytes of two neighbours may happen to look alike."""
        found = self._hashes.find(wanted, start, end)
        while found >= 0 and found % _HASH_BYTES:
            found = self._hashes.find(wanted, found + 1, end)
        return found
