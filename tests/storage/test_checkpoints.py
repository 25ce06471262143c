"""The small text files, byte for byte as Kafka writes them."""

from pathlib import Path

import pytest

from pybroker.model.ids import TopicPartition, parse_topic_id
from pybroker.storage import checkpoints
from pybroker.storage.errors import CorruptFile
from pybroker.storage.files import Files
from pybroker.storage.leader_epochs import EpochEntry, LeaderEpochs

FILES = Files()


def test_offsets(tmp_path: Path) -> None:
    offsets = {TopicPartition("a", 0): 5, TopicPartition("b-c", 12): 1 << 40}
    checkpoints.write_offsets(FILES, str(tmp_path), "x", offsets)
    assert (tmp_path / "x").read_bytes() == b"0\n2\na 0 5\nb-c 12 1099511627776\n"
    assert checkpoints.read_offsets(FILES, str(tmp_path), "x") == offsets
    assert checkpoints.read_offsets(FILES, str(tmp_path), "y") == {}
    assert not list(tmp_path.glob("*.tmp"))


def test_leader_epochs(tmp_path: Path) -> None:
    entries = [EpochEntry(0, 0), EpochEntry(3, 17)]
    checkpoints.write_leader_epochs(FILES, str(tmp_path), entries)
    assert (tmp_path / "leader-epoch-checkpoint").read_bytes() == b"0\n2\n0 0\n3 17\n"
    assert checkpoints.read_leader_epochs(FILES, str(tmp_path)) == entries


def test_partition_metadata(tmp_path: Path) -> None:
    topic_id = parse_topic_id("mZ6nYLdVRQCfB8PtCk_GcA")
    checkpoints.write_partition_metadata(FILES, str(tmp_path), topic_id)
    assert (tmp_path / "partition.metadata").read_bytes() == b"version: 0\ntopic_id: mZ6nYLdVRQCfB8PtCk_GcA"
    assert checkpoints.read_partition_metadata(FILES, str(tmp_path)) == topic_id


def test_the_clean_shutdown_mark_is_taken_once(tmp_path: Path) -> None:
    checkpoints.write_clean_shutdown_mark(FILES, str(tmp_path))
    assert checkpoints.take_clean_shutdown_mark(FILES, str(tmp_path))
    assert not checkpoints.take_clean_shutdown_mark(FILES, str(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "1\n0\n", "0\n", "0\nx\n", "0\n2\na 0 5\n", "0\n1\na 0\n", "0\n1\na b c\n", "\xff"]
)
def test_a_damaged_file_names_itself(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptFile, match="x"):
        checkpoints.read_offsets(FILES, str(tmp_path), "x")
    (tmp_path / "partition.metadata").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptFile, match=r"partition\.metadata"):
        checkpoints.read_partition_metadata(FILES, str(tmp_path))


def test_epochs_drop_what_contradicts_the_new_one() -> None:
    epochs = LeaderEpochs()
    for epoch, start in ((1, 0), (2, 10), (5, 20)):
        assert epochs.assign(epoch, start)
    assert not epochs.assign(5, 25)
    epochs.assign(6, 15)
    assert epochs.entries == ((1, 0), (2, 10), (6, 15))
    epochs.assign(4, 30)
    assert epochs.entries == ((1, 0), (2, 10), (4, 30))
    assert epochs.latest == 4


def test_where_an_epoch_ended() -> None:
    epochs = LeaderEpochs([EpochEntry(2, 10), EpochEntry(5, 20), EpochEntry(7, 30)])
    assert epochs.end_offset_for(-1, 40) == (-1, -1)
    assert epochs.end_offset_for(1, 40) == (1, 10)
    assert epochs.end_offset_for(2, 40) == (2, 20)
    assert epochs.end_offset_for(3, 40) == (2, 20)
    assert epochs.end_offset_for(6, 40) == (5, 30)
    assert epochs.end_offset_for(7, 40) == (7, 40)
    assert epochs.end_offset_for(8, 40) == (-1, -1)
    assert LeaderEpochs().end_offset_for(0, 40) == (-1, -1)


def test_epochs_are_cut_at_both_ends() -> None:
    epochs = LeaderEpochs([EpochEntry(2, 10), EpochEntry(5, 20), EpochEntry(7, 30)])
    epochs.truncate_from_end(30)
    assert epochs.entries == ((2, 10), (5, 20))
    epochs.truncate_from_start(15)
    assert epochs.entries == ((2, 15), (5, 20))
    epochs.truncate_from_start(20)
    assert epochs.entries == ((5, 20),)
    assert epochs.dirty
