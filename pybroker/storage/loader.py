"""Opening a partition's directory: recovery when the last stop was unclean, then what is needed to append
and read."""

import logging
from collections.abc import Callable

from pybroker.model.ids import Offset, TopicId, TopicPartition
from pybroker.storage import checkpoints
from pybroker.storage.context import StorageContext
from pybroker.storage.directory import DirectoryContent, read_directory, tidy_directory
from pybroker.storage.errors import CorruptFile
from pybroker.storage.leader_epochs import LeaderEpochs
from pybroker.storage.log import Log
from pybroker.storage.log_config import LogConfig
from pybroker.storage.log_files import LoadedState
from pybroker.storage.names import INDEX, TIME_INDEX, TXN_INDEX
from pybroker.storage.producer_state import ProducerState
from pybroker.storage.recovery import load_producers, recover_partition
from pybroker.storage.segment import LogPlace, Segment
from pybroker.storage.segments import Segments

logger = logging.getLogger(__name__)


def create_log(
    directory: str,
    topic_partition: TopicPartition,
    config: LogConfig,
    context: StorageContext,
    topic_id: TopicId | None = None,
) -> Log:
    """Makes an empty log in a new directory.

    Raises:
        OSError: the disk failed.
    """
    context.files.mkdir(directory)
    log = open_log(directory, topic_partition, config, context, clean=True)
    if topic_id is not None:
        log.assign_topic_id(topic_id)
    return log


def open_log(
    directory: str,
    topic_partition: TopicPartition,
    config: LogConfig,
    context: StorageContext,
    *,
    log_start_offset: Offset = 0,
    recovery_point: Offset = 0,
    clean: bool = False,
    was_flushed: bool | None = None,
    recover: Callable[..., object] | None = None,
) -> Log:
    """Opens the log in a directory, which may be empty.

    Args:
        log_start_offset: from the checkpoint; the first segment's base offset if that is larger.
        recovery_point: from the checkpoint.
        clean: whether the directory is in order: nothing is checked then.
        was_flushed: whether all of it is durable; by default if it is clean.
        recover: does the recovery, :func:`recover_partition` by default; a caller that has done it already
            passes ``clean``.

    Raises:
        OSError: the disk failed.
    """
    files = context.files
    was_flushed = clean if was_flushed is None else was_flushed

    def recover_here(point: Offset) -> None:
        (recover or recover_partition)(
            directory,
            topic_partition,
            config,
            files,
            now_ms=context.now_ms(),
            log_start_offset=log_start_offset,
            recovery_point=point,
            producer_id_expiration_ms=context.producer_id_expiration_ms,
        )

    if not clean:
        recover_here(recovery_point)
    content = read_directory(files, directory)
    if content.leftovers:
        tidy_directory(files, directory)
        content = read_directory(files, directory)
    place = LogPlace(directory)
    segments = _open_segments(place, content, config, context)
    damaged = _first_damaged(segments)
    if damaged is not None:
        recover_here(min(recovery_point, damaged))
        content = read_directory(files, directory)
        segments = _open_segments(place, content, config, context)
    end = segments[-1].read_next_offset() if segments else log_start_offset
    if segments and end < log_start_offset:
        logger.warning(
            "%s ends at %d, before its log start offset %d: files are missing; starting it anew there",
            topic_partition,
            end,
            log_start_offset,
        )
        _remove_segments(segments, context)
        segments, end = [], log_start_offset
    if not segments:
        segments = [_empty_segment(place, log_start_offset, config, context)]
    start = max(log_start_offset, segments[0].base_offset)
    producers = ProducerState(topic_partition, end)
    if clean and not content.snapshots:
        # A log without any snapshot that was closed cleanly never had a producer worth remembering.
        producers.end_offset = end
    else:
        producers.end_offset = -1
        expired_before_ms = context.now_ms() - context.producer_id_expiration_ms
        load_producers(context, directory, content, producers, segments, start, end, expired_before_ms)
    loaded = LoadedState(
        Segments(segments),
        start,
        end if was_flushed else min(recovery_point, end),
        end,
        producers,
        _open_epochs(directory, context, start, end),
        content.snapshots,
        _topic_id(directory, context),
    )
    return Log(place, topic_partition, config, context, loaded)


def _open_segments(
    place: LogPlace, content: DirectoryContent, config: LogConfig, context: StorageContext
) -> list[Segment]:
    segments = []
    bases = {base for base, _size in content.logs}
    for suffix, found in (
        (INDEX, content.indexes),
        (TIME_INDEX, content.time_indexes),
        (TXN_INDEX, content.txn_indexes),
    ):
        for orphan in found - bases:
            context.files.unlink(Segment(place, orphan, context).path(suffix))
    for base, size in content.logs:
        segment = Segment(
            place,
            base,
            context,
            size=size,
            index_interval=config.index_interval_bytes,
            index_bytes=config.segment_index_bytes,
        )
        segment.aborted.exists = base in content.txn_indexes
        segments.append(segment)
    return segments


def _first_damaged(segments: list[Segment]) -> Offset | None:
    """Offset and time indexes are rebuilt when they are read; aborted transactions only by recovery."""
    for segment in segments:
        try:
            segment.aborted.entries()
        except CorruptFile as error:
            logger.warning("%s: %s; recovering from there", segment.path(TXN_INDEX), error)
            return segment.base_offset
    return None


def _empty_segment(place: LogPlace, base: Offset, config: LogConfig, context: StorageContext) -> Segment:
    segment = Segment(
        place,
        base,
        context,
        index_interval=config.index_interval_bytes,
        index_bytes=config.segment_index_bytes,
    )
    segment.create(context.now_ms())
    return segment


def _remove_segments(segments: list[Segment], context: StorageContext) -> None:
    for segment in reversed(segments):
        for path in segment.rename_to_deleted():
            context.files.unlink(path)


def _open_epochs(directory: str, context: StorageContext, start: Offset, end: Offset) -> LeaderEpochs:
    try:
        epochs = LeaderEpochs(checkpoints.read_leader_epochs(context.files, directory))
    except CorruptFile as error:
        logger.warning("%s; leader epochs before the next one are unknown", error)
        epochs = LeaderEpochs()
    epochs.truncate_from_end(end)
    epochs.truncate_from_start(start)
    return epochs


def _topic_id(directory: str, context: StorageContext) -> TopicId | None:
    try:
        return checkpoints.read_partition_metadata(context.files, directory)
    except CorruptFile as error:
        logger.warning("%s; the topic id will be assigned again", error)
        return None
