"""Kafka's small text files: offsets per partition, leader epochs, the topic id, the clean-shutdown mark.

The first line is version 0, the second the count of entries, then one entry a line. Every one is written
to ``.tmp``, synced and renamed, so it is either the old or the new one.
"""

from collections.abc import Iterable, Mapping

from pybroker.model.ids import Offset, TopicId, TopicPartition, parse_topic_id, topic_id_text
from pybroker.storage import names
from pybroker.storage.errors import CorruptFile
from pybroker.storage.files import Files
from pybroker.storage.handles import join
from pybroker.storage.leader_epochs import EpochEntry

_VERSION = "0"


def _encode(lines: Iterable[str]) -> bytes:
    body = list(lines)
    return "".join(f"{line}\n" for line in (_VERSION, str(len(body)), *body)).encode()


def _decode(path: str, data: bytes) -> list[str]:
    try:
        lines = data.decode().splitlines()
        if lines[0] != _VERSION:
            raise CorruptFile(f"{path}: version {lines[0]!r} is not known")
        count, body = int(lines[1]), lines[2:]
    except (UnicodeDecodeError, IndexError, ValueError) as error:
        raise CorruptFile(f"{path}: not a checkpoint file") from error
    if len(body) != count:
        raise CorruptFile(f"{path}: {len(body)} entries instead of {count}")
    return body


def read_offsets(files: Files, directory: str, name: str) -> dict[TopicPartition, Offset]:
    """One of a log directory's offset checkpoints; empty when there is none.

    Raises:
        CorruptFile: the file is damaged.
    """
    path = join(directory, name)
    try:
        lines = _decode(path, files.read_bytes(path))
    except FileNotFoundError:
        return {}
    offsets = {}
    for line in lines:
        try:
            topic, partition, offset = line.split(" ")
            offsets[TopicPartition(topic, int(partition))] = int(offset)
        except ValueError as error:
            raise CorruptFile(f"{path}: malformed line {line!r}") from error
    return offsets


def write_offsets(files: Files, directory: str, name: str, offsets: Mapping[TopicPartition, Offset]) -> None:
    """Replaces one of a log directory's offset checkpoints."""
    lines = (f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items())
    files.replace_bytes(join(directory, name), _encode(lines))


def read_leader_epochs(files: Files, directory: str) -> list[EpochEntry]:
    """A partition's epochs; empty when there is no file.

    Raises:
        CorruptFile: the file is damaged.
    """
    path = join(directory, names.LEADER_EPOCH_CHECKPOINT)
    try:
        lines = _decode(path, files.read_bytes(path))
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            epoch, start_offset = line.split()
            entries.append(EpochEntry(int(epoch), int(start_offset)))
        except ValueError as error:
            raise CorruptFile(f"{path}: malformed line {line!r}") from error
    return entries


def write_leader_epochs(files: Files, directory: str, entries: Iterable[EpochEntry]) -> None:
    """Replaces a partition's epochs."""
    lines = (f"{entry.epoch} {entry.start_offset}" for entry in entries)
    files.replace_bytes(join(directory, names.LEADER_EPOCH_CHECKPOINT), _encode(lines))


def read_partition_metadata(files: Files, directory: str) -> TopicId | None:
    """The topic id that a partition's directory belongs to; None when there is no file.

    Raises:
        CorruptFile: the file is damaged.
    """
    path = join(directory, names.PARTITION_METADATA)
    try:
        lines = files.read_bytes(path).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    fields = dict(line.partition(": ")[::2] for line in lines)
    if fields.get("version") != _VERSION:
        raise CorruptFile(f"{path}: version {fields.get('version')!r} is not known")
    try:
        return parse_topic_id(fields["topic_id"])
    except (KeyError, ValueError) as error:
        raise CorruptFile(f"{path}: no topic id") from error


def write_partition_metadata(files: Files, directory: str, topic_id: TopicId) -> None:
    """Writes ``partition.metadata``, which is not durable yet; like Kafka's it does not end in a newline."""
    text = f"version: {_VERSION}\ntopic_id: {topic_id_text(topic_id)}"
    path = join(directory, names.PARTITION_METADATA)
    files.write_bytes(path + ".tmp", text.encode())
    files.rename(path + ".tmp", path)


def take_clean_shutdown_mark(files: Files, directory: str) -> bool:
    """Whether the last stop was clean. The mark is gone afterwards: a crash from now on is unclean."""
    return files.unlink_if_exists(join(directory, names.CLEAN_SHUTDOWN))


def write_clean_shutdown_mark(files: Files, directory: str, broker_epoch: int = -1) -> None:
    """Leaves the mark that lets the next start skip recovery."""
    content = f'{{"version":0,"brokerEpoch":{broker_epoch}}}'
    files.replace_bytes(join(directory, names.CLEAN_SHUTDOWN), content.encode())
