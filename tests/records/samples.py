"""Records to test with, fixed and random."""

from hypothesis import strategies as st

from pybroker.records.batch import CompressionType, Record
from pybroker.records.builder import build_batch

NOW = 1_700_000_000_000

CODECS = list(CompressionType)
LEGACY_CODECS = [codec for codec in CompressionType if codec is not CompressionType.ZSTD]

SAMPLE = [
    Record(0, NOW - 5, b"key", b"value", (("a", b"1"), ("ä", None), ("", b""))),
    Record(1, NOW + 7, None, b"no key"),
    Record(2, NOW - 900, b"no value", None),
    Record(3, NOW, b"", b""),
    Record(4, NOW + 1, None, None, (("same", b"x"), ("same", b"y"))),
    Record(5, NOW + 2, b"long", b"0123456789abcdef" * 20),
]

PLAIN_SAMPLE = [record._replace(headers=()) for record in SAMPLE]
"""Without headers, which old formats do not have."""


def sample_batch(codec: CompressionType = CompressionType.NONE) -> bytearray:
    """A good batch as a producer sends it."""
    return bytearray(build_batch(SAMPLE, compression=codec))


_fields = st.none() | st.binary(max_size=200)
_headers = st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=20)), max_size=3).map(
    tuple
)


def record_lists(headers: bool = True) -> st.SearchStrategy[list[Record]]:
    """Some records with offsets that count up from 0."""
    one = st.tuples(st.integers(-1, 2**62), _fields, _fields, _headers if headers else st.just(()))
    return st.lists(one, min_size=1, max_size=30).map(
        lambda rows: [Record(index, *row) for index, row in enumerate(rows)]
    )
