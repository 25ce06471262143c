"""What the replicas of a partition hold, compared with each other."""

from pybroker.model.ids import Offset, TopicPartition
from pybroker.records.header import iter_batch_headers
from pybroker.storage.log import Log
from tests.support.cluster import Cluster

READ_BYTES = 1 << 20


def batches_of(log: Log, start: Offset) -> list[tuple[Offset, bytes]]:
    """Every batch from the one that holds ``start`` on, with its base offset. Segments do not show."""
    found: list[tuple[Offset, bytes]] = []
    offset = start
    while offset < log.log_end_offset:
        read = log.read(offset, READ_BYTES)
        assert read.slice is not None
        data = read.slice.read()
        read.slice.release()
        for position, header in iter_batch_headers(memoryview(data)):
            found.append((header.base_offset, bytes(data[position : position + header.size_in_bytes])))
            offset = header.next_offset
    return found


def same_bytes(cluster: Cluster, tp: TopicPartition) -> bool:
    """Whether all replicas that are up hold the same batches from the highest log start offset on, and end
    together. Raises an AssertionError that says where they differ."""
    replicas = {one: cluster.replica(tp, one) for one in sorted(cluster.brokers)}
    start = max(partition.log.log_start_offset for partition in replicas.values())
    held = {one: batches_of(partition.log, start) for one, partition in replicas.items()}
    first, *others = held
    for other in others:
        for ours, theirs in zip(held[first], held[other], strict=False):
            assert ours == theirs, f"{tp}: brokers {first} and {other} differ at offset {ours[0]}"
        assert len(held[first]) == len(held[other]), f"{tp}: {first} and {other} end differently"
    return True
