"""Where each field of a record batch lies: construct declares it, ``struct`` formats are read off the tree.

Sources: Kafka's ``DefaultRecordBatch`` (magic 2), ``LegacyRecord`` (magic 0 and 1), ``ControlRecordType`` and
``EndTransactionMarker``. All integers are big-endian.
"""

from struct import Struct
from typing import Any

import construct

BATCH_HEADER = construct.Struct(
    "base_offset" / construct.Int64sb,
    "batch_length" / construct.Int32sb,
    "leader_epoch" / construct.Int32sb,
    "magic" / construct.Int8sb,
    "crc" / construct.Int32ub,
    "attributes" / construct.Int16sb,
    "last_offset_delta" / construct.Int32sb,
    "base_timestamp" / construct.Int64sb,
    "max_timestamp" / construct.Int64sb,
    "producer_id" / construct.Int64sb,
    "producer_epoch" / construct.Int16sb,
    "base_sequence" / construct.Int32sb,
    "record_count" / construct.Int32sb,
)
"""Header of a magic 2 batch; the records follow, compressed or not. The CRC-32C covers attributes to end."""

LOG_OVERHEAD = construct.Struct(
    "offset" / construct.Int64sb,
    "size" / construct.Int32sb,
)
"""What stands before every batch and old message: an offset, and how many bytes follow the size field."""

MESSAGE_HEADER_V0 = construct.Struct(
    "offset" / construct.Int64sb,
    "size" / construct.Int32sb,
    "crc" / construct.Int32ub,
    "magic" / construct.Int8sb,
    "attributes" / construct.Int8sb,
)
"""Start of a magic 0 message; nullable key and value (int32 sizes) follow. The CRC-32 covers magic to end."""

MESSAGE_HEADER_V1 = construct.Struct(
    "offset" / construct.Int64sb,
    "size" / construct.Int32sb,
    "crc" / construct.Int32ub,
    "magic" / construct.Int8sb,
    "attributes" / construct.Int8sb,
    "timestamp" / construct.Int64sb,
)
"""Start of a magic 1 message: as magic 0, with a timestamp."""

CONTROL_RECORD_KEY = construct.Struct(
    "version" / construct.Int16sb,
    "type" / construct.Int16sb,
)

END_TRANSACTION_VALUE = construct.Struct(
    "version" / construct.Int16sb,
    "coordinator_epoch" / construct.Int32sb,
)


def field_names(declaration: Any) -> tuple[str, ...]:
    """The names of a fixed-size construct ``Struct``, in wire order."""
    return tuple(field.name for field in declaration.subcons)


def struct_of(declaration: Any, *, first: str | None = None, last: str | None = None) -> Struct:
    """The ``struct.Struct`` equal to a run of fields (both ends included) of a construct ``Struct``.

    Raises:
        TypeError: a field is not a plain big-endian number.
    """
    names = field_names(declaration)
    start = 0 if first is None else names.index(first)
    stop = len(names) if last is None else names.index(last) + 1
    codes = []
    for field in declaration.subcons[start:stop]:
        number = field.subcon
        if not isinstance(number, construct.FormatField) or not number.fmtstr.startswith(">"):
            raise TypeError(f"field {field.name} is not a big-endian number")
        codes.append(number.fmtstr[1:])
    return Struct(">" + "".join(codes))


def offset_of(declaration: Any, name: str) -> int:
    """How many bytes lie before a field of a fixed-size construct ``Struct``."""
    names = field_names(declaration)
    if name == names[0]:
        return 0
    return struct_of(declaration, last=names[names.index(name) - 1]).size


LOG_OVERHEAD_BYTES = struct_of(LOG_OVERHEAD).size
"""12: bytes before what the size field counts."""

BATCH_HEADER_BYTES = struct_of(BATCH_HEADER).size
"""61: bytes of a magic 2 header, and so the smallest batch."""

MAGIC_POSITION = offset_of(BATCH_HEADER, "magic")
"""16: the same place in all three formats."""

CRC_POSITION = offset_of(BATCH_HEADER, "crc")
ATTRIBUTES_POSITION = offset_of(BATCH_HEADER, "attributes")
MAX_TIMESTAMP_POSITION = offset_of(BATCH_HEADER, "max_timestamp")
LEADER_EPOCH_POSITION = offset_of(BATCH_HEADER, "leader_epoch")
