"""Names of files and directories."""

import pytest

from pybroker.model.ids import TopicPartition
from pybroker.storage.names import (
    DirectoryKind,
    PartitionDirectory,
    offset_of_file,
    parse_partition_directory,
    partition_directory,
    renamed_directory,
    segment_file,
)

PARTITION = TopicPartition("a-1.b_c-", 12)


def test_a_segment_file_has_twenty_digits() -> None:
    assert segment_file(4711, ".log") == "00000000000000004711.log"
    assert offset_of_file("00000000000000004711.timeindex.deleted") == 4711
    assert offset_of_file("leader-epoch-checkpoint") is None
    assert offset_of_file("4711.log") is None


@pytest.mark.parametrize("kind", DirectoryKind)
def test_a_directory_name_reads_back(kind: DirectoryKind) -> None:
    name = (
        partition_directory(PARTITION)
        if kind is DirectoryKind.CURRENT
        else renamed_directory(PARTITION, kind)
    )
    assert parse_partition_directory(name) == PartitionDirectory(PARTITION, kind)


def test_a_long_topic_is_cut_so_that_the_name_fits() -> None:
    partition = TopicPartition("x" * 249, 123)
    for kind in (DirectoryKind.DELETE, DirectoryKind.STRAY):
        name = renamed_directory(partition, kind)
        assert len(name) == 255
        parsed = parse_partition_directory(name)
        assert (parsed.topic_partition.partition, parsed.kind) == (123, kind)


@pytest.mark.parametrize(
    "name", ["", "x", "-1", "x-", "x-y", "x-1-delete", "x-1.-delete", "lost+found", "x--"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        parse_partition_directory(name)
