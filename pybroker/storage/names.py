"""File and directory names of a log, as Kafka writes them."""

import uuid
from enum import StrEnum

from pybroker.model.ids import Offset, TopicPartition
from pybroker.model.values import Value

LOG = ".log"
INDEX = ".index"
TIME_INDEX = ".timeindex"
TXN_INDEX = ".txnindex"
SNAPSHOT = ".snapshot"
DELETED = ".deleted"
CLEANED = ".cleaned"
SWAP = ".swap"
SEGMENT_SUFFIXES = (LOG, INDEX, TIME_INDEX, TXN_INDEX)

LEADER_EPOCH_CHECKPOINT = "leader-epoch-checkpoint"
PARTITION_METADATA = "partition.metadata"
RECOVERY_POINT_CHECKPOINT = "recovery-point-offset-checkpoint"
LOG_START_CHECKPOINT = "log-start-offset-checkpoint"
CLEANER_CHECKPOINT = "cleaner-offset-checkpoint"
HIGH_WATERMARK_CHECKPOINT = "replication-offset-checkpoint"
META_PROPERTIES = "meta.properties"
LOCK = ".lock"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"

MAX_NAME_BYTES = 255


class DirectoryKind(StrEnum):
    """What the suffix of a partition's directory says about it; the value is the suffix."""

    CURRENT = ""
    DELETE = "-delete"
    STRAY = "-stray"
    FUTURE = "-future"


class PartitionDirectory(Value):
    """A parsed directory name. The topic of a -delete or -stray name may have been cut to fit."""

    topic_partition: TopicPartition
    kind: DirectoryKind


def segment_file(base_offset: Offset, suffix: str) -> str:
    """The name of one of a segment's files: 20 digits and the suffix."""
    return f"{base_offset:020d}{suffix}"


def offset_of_file(name: str) -> Offset | None:
    """The offset that a file name begins with; None if it is no segment file's name."""
    digits = name.partition(".")[0]
    return int(digits) if len(digits) == 20 and digits.isascii() and digits.isdigit() else None


def partition_directory(topic_partition: TopicPartition) -> str:
    """The directory name of a live replica."""
    return f"{topic_partition.topic}-{topic_partition.partition}"


def renamed_directory(topic_partition: TopicPartition, kind: DirectoryKind) -> str:
    """A fresh name of that kind; -delete and -stray names cut the topic to stay within 255 bytes."""
    suffix = f"-{topic_partition.partition}.{uuid.uuid4().hex}{kind.value}"
    topic = topic_partition.topic
    if kind is not DirectoryKind.FUTURE:
        topic = topic[: MAX_NAME_BYTES - len(suffix)]
    return topic + suffix


def parse_partition_directory(name: str) -> PartitionDirectory:
    """Reads a directory name.

    Raises:
        ValueError: it is not of the form ``topic-partition`` or ``topic-partition.uniqueId-suffix``.
    """
    kind = DirectoryKind.CURRENT
    for candidate in (DirectoryKind.DELETE, DirectoryKind.STRAY, DirectoryKind.FUTURE):
        if name.endswith(candidate.value):
            kind = candidate
    stem = name
    if kind is not DirectoryKind.CURRENT:
        stem, dot, unique = name.removesuffix(kind.value).rpartition(".")
        if not dot or not unique:
            raise ValueError(f"{name!r} is not of the form topic-partition.uniqueId{kind.value}")
    topic, dash, partition = stem.rpartition("-")
    if not topic or not dash or not (partition.isascii() and partition.isdigit()):
        raise ValueError(f"{name!r} is not of the form topic-partition")
    return PartitionDirectory(TopicPartition(topic, int(partition)), kind)
