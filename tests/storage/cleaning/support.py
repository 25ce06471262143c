"""Keyed batches, and a clean that runs here instead of in a process."""

from collections.abc import Callable, Sequence

from pybroker.model.ids import Offset
from pybroker.records.builder import build_batch
from pybroker.records.header import BatchHeader, CompressionType, Record, TimestampType, read_batch_header
from pybroker.records.validation import ValidatedBatch
from pybroker.storage import names
from pybroker.storage.cleaning.batch_filter import BatchFilter, CleanStats, LastWrite
from pybroker.storage.cleaning.cleaner import run_job
from pybroker.storage.cleaning.job import (
    Answer,
    Cleaned,
    CleanedGroup,
    CleanerLimits,
    CleanJob,
    decode_answer,
    encode_answer,
)
from pybroker.storage.cleaning.offset_map import OffsetMap
from pybroker.storage.cleaning.selection import LogToClean, assess
from pybroker.storage.cleaning.transactions import TransactionsSeen
from pybroker.storage.cleaning.view import facts_of, job_of
from pybroker.storage.context import StorageContext
from pybroker.storage.log import Log
from pybroker.storage.transaction_index import AbortedTransaction
from tests.storage.conftest import all_records, validated

NOW_MS = 1_700_000_000_000
KeyValue = tuple[bytes | None, bytes | None]


def raw(
    pairs: Sequence[KeyValue],
    *,
    offset: Offset = 0,
    timestamp: int = NOW_MS,
    compression: CompressionType = CompressionType.NONE,
    timestamp_type: TimestampType = TimestampType.CREATE_TIME,
    producer: tuple[int, int, int] | None = None,
    transactional: bool = False,
    leader_epoch: int = -1,
) -> bytes:
    """A batch of these, timestamps 10 ms apart; ``producer`` is (id, epoch, base sequence)."""
    producer_id, epoch, sequence = (-1, -1, -1) if producer is None else producer
    return build_batch(
        [
            Record(offset + n, timestamp + 10 * n, key, value, (("h", b"x"),))
            for n, (key, value) in enumerate(pairs)
        ],
        compression=compression,
        timestamp_type=timestamp_type,
        log_append_time_ms=timestamp + 5,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        is_transactional=transactional,
        leader_epoch=leader_epoch,
    )


def keyed(pairs: Sequence[KeyValue], **options: object) -> ValidatedBatch:
    """As :func:`raw`, ready for the log."""
    return validated(raw(pairs, **options))  # type: ignore[arg-type]


def header_of(batch: bytes) -> BatchHeader:
    return read_batch_header(batch)


def batch_filter(
    latest: dict[bytes, Offset],
    *,
    known_until: Offset = 1 << 40,
    aborted: Sequence[AbortedTransaction] = (),
    last_writes: dict[int, LastWrite] | None = None,
    now_ms: int = NOW_MS,
    delete_retention_ms: int = 1000,
) -> BatchFilter:
    """A filter that knows these latest offsets, and that all offsets up to ``known_until`` were looked at."""
    offsets = OffsetMap(4096)
    for key, offset in latest.items():
        offsets.put(key, offset)
    offsets.latest_offset = known_until
    return BatchFilter(
        offsets, TransactionsSeen(aborted), last_writes or {}, now_ms, delete_retention_ms, CleanStats()
    )


def choose(log: Log, context: StorageContext, last_stable_offset: Offset | None = None) -> LogToClean:
    """The range that may be cleaned now; by default everything is replicated."""
    stable = last_stable_offset
    if stable is None:
        stable = log.log_end_offset if log.first_unstable_offset is None else log.first_unstable_offset
    return assess(facts_of(log, stable, context.now_ms()), context.now_ms())


def clean(
    log: Log,
    context: StorageContext,
    limits: CleanerLimits | None = None,
    *,
    last_stable_offset: Offset | None = None,
    between: Callable[[Answer], None] = lambda _answer: None,
) -> Cleaned:
    """Cleans once, and swaps in what came of it. ``between`` runs before each answer is obeyed.

    Jobs and answers go through their encoded forms, as between processes.
    """
    chosen = choose(log, context, last_stable_offset)
    job = job_of(log, chosen, context.now_ms(), limits or CleanerLimits())
    segments = {segment.base_offset: segment for segment in log.segments}
    for made in run_job(CleanJob.decode(job.encode()), context.files):
        answer = decode_answer(encode_answer(made))
        between(answer)
        match answer:
            case CleanedGroup():
                replaced = log.replace_segments(
                    [segments[base] for base in answer.bases], answer.size, has_txn_index=answer.has_txn_index
                )
                context.files.fsync_dir(log.directory)
                context.trash_renamed(replaced, log.config.file_delete_delay_ms)
            case Cleaned():
                log.cleaned_offset = answer.end_offset
                return answer
            case _:
                raise AssertionError(answer)
    raise AssertionError("no end")


def state_of(log: Log) -> dict[bytes | None, bytes]:
    """What a consumer makes of a compacted topic that it reads from the beginning."""
    state: dict[bytes | None, bytes] = {}
    for record in all_records(log):
        if record.value is None:
            state.pop(record.key, None)
        else:
            state[record.key] = record.value
    return state


def files_with(context: StorageContext, log: Log, suffix: str) -> list[str]:
    """Names in the log's directory that end so."""
    return [entry.name for entry in context.files.scan(log.directory) if entry.name.endswith(suffix)]


def leftovers(context: StorageContext, log: Log) -> list[str]:
    """Files that no finished clean leaves."""
    return files_with(context, log, names.CLEANED) + files_with(context, log, names.SWAP)
