"""A hosted partition as the log of a coordinator."""

import trio

from pybroker.coordination.effects import TransactionMarker
from pybroker.coordination.transaction.calls import TV_2
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import LeaderEpoch, Offset, ProducerEpoch, ProducerId
from pybroker.model.values import Value
from pybroker.records.errors import InvalidRecords
from pybroker.records.header import CompressionType, TimestampType, read_batch_header
from pybroker.records.policy import Origin, ValidationPolicy
from pybroker.records.validation import ValidatedBatch, validate_produce
from pybroker.replication.partition import Partition
from pybroker.replication.storage_errors import api_error
from pybroker.replication.waiters import waiting_on
from pybroker.storage.errors import StorageError


class PartitionLog(Value):
    """A :class:`~pybroker.coordination.runtime.log_port.CoordinatorLog` over a partition, which is led here
    since ``leader_epoch``."""

    partition: Partition
    leader_epoch: LeaderEpoch

    @property
    def log_start_offset(self) -> Offset:
        return self.partition.log.log_start_offset

    @property
    def log_end_offset(self) -> Offset:
        return self.partition.log.log_end_offset

    @property
    def is_leader(self) -> bool:
        return self.partition.is_leader

    def read(self, offset: Offset, max_bytes: int) -> bytes:
        found = self.partition.log.read(offset, max_bytes)
        if found.slice is None:
            return b""
        try:
            return found.slice.read()
        finally:
            found.slice.release()

    def append(
        self, batch: bytes, *, all_replicas: bool, guard: object | None = None
    ) -> tuple[Offset, Offset]:
        partition = self.partition
        if not self.is_leader:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if all_replicas:
            partition.check_enough_replicas()
        try:
            validated = _validated(batch, partition.settings.validation, partition)
            info = partition.append(validated, Origin.COORDINATOR, guard)
        except StorageError as error:
            raise api_error(error) from error
        except InvalidRecords as error:
            raise ApiError(error.code, error.message) from error
        return info.first_offset, info.last_offset + 1

    def start_verification(self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> object | None:
        return self.partition.start_verification(producer_id, producer_epoch)

    def check_marker(self, marker: TransactionMarker) -> None:
        """What has to be asked about a marker beside what every append is asked.

        Raises:
            ApiError: INVALID_PRODUCER_EPOCH.
        """
        if marker.transaction_version < TV_2:
            return
        try:
            self.partition.log.check_bumped_marker(marker.producer_id, marker.producer_epoch)
        except StorageError as error:
            raise api_error(error) from error

    def is_committed(self, end_offset: Offset) -> bool:
        partition = self.partition
        return self.is_leader and partition.high_watermark >= end_offset and partition.had_enough_replicas

    async def committed(self, end_offset: Offset, timeout_s: float) -> None:
        partition = self.partition
        if self.is_leader and partition.high_watermark < end_offset:
            with waiting_on((partition.waiters,)) as waiter, trio.move_on_after(timeout_s):
                while self.is_leader and partition.high_watermark < end_offset:
                    await waiter.sleep()
        if not self.is_leader:
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if partition.high_watermark < end_offset:
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT)
        if not partition.had_enough_replicas:
            raise ApiError(ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)


def _validated(batch: bytes, policy: ValidationPolicy, partition: Partition) -> ValidatedBatch:
    """Our own batch needs no looking into, unless the topic's configuration changes what is stored."""
    buffer = memoryview(bytearray(batch))
    header = read_batch_header(buffer)
    if _is_stored_as_it_is(policy, CompressionType(header.compression_id)):
        if len(batch) > policy.max_message_bytes:
            raise ApiError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"{len(batch)} bytes are more than the {policy.max_message_bytes} that {partition.tp} takes",
            )
        return ValidatedBatch(
            header, buffer, header.record_count, header.max_timestamp, header.last_offset_delta
        )
    now_ms = header.max_timestamp
    return validate_produce(buffer, policy, now_ms, origin=Origin.COORDINATOR)


def _is_stored_as_it_is(policy: ValidationPolicy, codec: CompressionType) -> bool:
    return policy.timestamp_type is TimestampType.CREATE_TIME and policy.compression_type in (None, codec)
