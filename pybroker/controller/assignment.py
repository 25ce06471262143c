"""Which brokers get the replicas of a new topic or of new partitions. Pure; chance is an argument.

Source: ``AdminUtils.assignReplicasToBrokers`` of Kafka 3.9. Leaders go round robin from a random broker, the
other replicas follow at a shift that grows each time all brokers have led once. With racks the brokers are
first put in an order that alternates racks, and no rack gets a second replica while another has none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerId
from pybroker.model.values import Value

RandomBelow = Callable[[int], int]
"""A random int in [0, n)."""


class AssignableBroker(Value):
    """A broker that may get replicas."""

    broker_id: BrokerId
    rack: str | None = None


def assign_replicas(
    brokers: Sequence[AssignableBroker],
    partition_count: int,
    replication_factor: int,
    random_below: RandomBelow,
    *,
    fixed_start_index: int = -1,
    first_partition: int = 0,
) -> dict[int, tuple[BrokerId, ...]]:
    """Replicas by partition, the preferred leader first.

    Args:
        brokers: in the order to go round, usually by id.
        partition_count: how many partitions to assign.
        replication_factor: how many replicas each gets.
        random_below: chance.
        fixed_start_index: where to begin instead of a random place, so that new partitions go on where the
            first ones of the topic began.
        first_partition: index of the first partition to assign.

    Raises:
        ApiError: INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, or UNKNOWN_SERVER_ERROR when some brokers
            have a rack and others have none.
    """
    if partition_count <= 0:
        raise ApiError(ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0.")
    if replication_factor <= 0:
        raise ApiError(ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0.")
    if replication_factor > len(brokers):
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Replication factor: {replication_factor} larger than available brokers: {len(brokers)}.",
        )
    racks = {broker.broker_id: broker.rack for broker in brokers if broker.rack is not None}
    if racks and len(racks) < len(brokers):
        raise ApiError(
            ErrorCode.UNKNOWN_SERVER_ERROR,
            "Not all brokers have rack information for replica rack aware assignment.",
        )
    order = rack_alternated(racks) if racks else [broker.broker_id for broker in brokers]
    start = fixed_start_index if fixed_start_index >= 0 else random_below(len(order))
    shift = fixed_start_index if fixed_start_index >= 0 else random_below(len(order))
    assigned: dict[int, tuple[BrokerId, ...]] = {}
    first_partition = max(0, first_partition)
    for partition in range(first_partition, first_partition + partition_count):
        if partition > 0 and partition % len(order) == 0:
            shift += 1
        leader_index = (partition + start) % len(order)
        if racks:
            assigned[partition] = _across_racks(order, racks, leader_index, shift, replication_factor)
        else:
            assigned[partition] = (
                order[leader_index],
                *(
                    order[_replica_index(leader_index, shift, j, len(order))]
                    for j in range(replication_factor - 1)
                ),
            )
    return assigned


def rack_alternated(racks: Mapping[BrokerId, str]) -> list[BrokerId]:
    """The brokers in an order where neighbours are in different racks as far as possible."""
    by_rack: dict[str, list[BrokerId]] = {}
    for broker_id in sorted(racks):
        by_rack.setdefault(racks[broker_id], []).append(broker_id)
    columns = [by_rack[rack] for rack in sorted(by_rack)]
    longest = max(map(len, columns), default=0)
    return [column[row] for row in range(longest) for column in columns if row < len(column)]


def _across_racks(
    order: Sequence[BrokerId],
    racks: Mapping[BrokerId, str],
    leader_index: int,
    shift: int,
    replication_factor: int,
) -> tuple[BrokerId, ...]:
    rack_count = len(set(racks.values()))
    replicas = [order[leader_index]]
    used_racks = {racks[replicas[0]]}
    attempt = 0
    while len(replicas) < replication_factor:
        broker = order[_replica_index(leader_index, shift * rack_count, attempt, len(order))]
        attempt += 1
        all_racks_used = len(used_racks) == rack_count
        if broker not in replicas and (all_racks_used or racks[broker] not in used_racks):
            replicas.append(broker)
            used_racks.add(racks[broker])
    return tuple(replicas)


def _replica_index(leader_index: int, shift: int, replica: int, broker_count: int) -> int:
    return (leader_index + 1 + (shift + replica) % (broker_count - 1)) % broker_count


def check_assignment(assignment: Mapping[int, Sequence[BrokerId]]) -> None:
    """The rules for an assignment that a client gives for a new topic.

    Raises:
        ApiError: INVALID_REPLICA_ASSIGNMENT.
    """
    if len({len(replicas) for replicas in assignment.values()}) != 1:
        raise _invalid("All partitions should have the same number of replicas")
    for replicas in assignment.values():
        if len(set(replicas)) != len(replicas):
            raise _invalid(f"Duplicate replica assignment found: {describe(assignment)}")
    # Kafka compares sums of the non-negative indexes; what fails there fails here, and gaps that happen to
    # have the right sum do too.
    if sorted(assignment) != list(range(len(assignment))):
        raise _invalid("partitions should be a consecutive 0-based integer sequence")


def check_new_partitions(
    assignment: Mapping[int, Sequence[BrokerId]], replication_factor: int, live: Iterable[BrokerId]
) -> None:
    """The rules for an assignment that a client gives for partitions to add.

    Raises:
        ApiError: INVALID_REPLICA_ASSIGNMENT or BROKER_NOT_AVAILABLE.
    """
    available = set(live)
    for partition, replicas in assignment.items():
        if not replicas:
            raise _invalid(f"Cannot have replication factor of 0 for partition id {partition}.")
        if len(set(replicas)) != len(replicas):
            raise _invalid(
                "Duplicate brokers not allowed in replica assignment: "
                f"{_listed(replicas)} for partition id {partition}."
            )
        if not available.issuperset(replicas):
            raise ApiError(
                ErrorCode.BROKER_NOT_AVAILABLE,
                f"Some brokers specified for partition id {partition} are not available. "
                f"Specified brokers: {_listed(replicas)}, available brokers: {_listed(sorted(available))}.",
            )
    bad = {partition: len(r) for partition, r in sorted(assignment.items()) if len(r) != replication_factor}
    if bad:
        raise _invalid(
            "Inconsistent replication factor between partitions, partition 0 has "
            f"{replication_factor} while partitions [{_listed(bad)}] have replication factors "
            f"[{_listed(bad.values())}], respectively."
        )


def describe(assignment: Mapping[int, Sequence[BrokerId]]) -> str:
    """An assignment as Kafka's messages print it."""
    return f"HashMap({', '.join(f'{p} -> ArrayBuffer({_listed(r)})' for p, r in sorted(assignment.items()))})"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, message)
