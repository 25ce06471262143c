"""What old consumers can read: stored batches as message sets, or a refusal (KIP-283, KIP-110)."""

import trio

from pybroker.coordination.fetch_sessions import FetchTarget, PartitionReply
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.protocol.messages import FetchResponse
from pybroker.records.downconversion import down_convert
from pybroker.records.errors import InvalidRecords
from pybroker.replication.replicas import Replicas
from pybroker.storage.handles import FileSlice

FIRST_VERSION_WITH_MAGIC_1 = 2
FIRST_VERSION_WITH_BATCHES = 4
FIRST_VERSION_WITH_ZSTD = 10
FIRST_VERSION_WITH_STORAGE_ERROR = 6
INVALID_HIGH_WATERMARK = -1


def refusal(target: FetchTarget, code: ErrorCode) -> FetchResponse.PartitionData:
    """What a partition is answered with that gives no records."""
    return FetchResponse.PartitionData(
        partition_index=target.partition,
        error_code=code,
        high_watermark=INVALID_HIGH_WATERMARK,
        records=b"",
    )


async def adapt_to_version(
    version: int, replies: list[PartitionReply], replicas: Replicas
) -> list[PartitionReply]:
    """The replies as consumers of this version of Fetch understand them; slices are released as they go."""
    if version >= FIRST_VERSION_WITH_ZSTD:
        return replies
    return [PartitionReply(reply.target, await _adapt(version, reply, replicas)) for reply in replies]


async def _adapt(version: int, reply: PartitionReply, replicas: Replicas) -> FetchResponse.PartitionData:
    data = reply.data
    if data.error_code == ErrorCode.KAFKA_STORAGE_ERROR and version < FIRST_VERSION_WITH_STORAGE_ERROR:
        data.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER
    partition = replicas.find(TopicPartition(reply.target.topic or "", reply.target.partition))
    if partition is None or data.error_code != ErrorCode.NONE:
        return data
    topic = partition.settings.topic
    if topic.compression_type == "zstd":
        return _without_records(reply, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    if version >= FIRST_VERSION_WITH_BATCHES:
        return data
    if not topic.message_downconversion_enable:
        return _without_records(reply, ErrorCode.UNSUPPORTED_VERSION)
    stored: object = data.records
    if isinstance(stored, FileSlice):
        magic = 0 if version < FIRST_VERSION_WITH_MAGIC_1 else 1
        try:
            data.records = await trio.to_thread.run_sync(_convert, stored, magic, reply.target.fetch_offset)
        except InvalidRecords as error:
            return refusal(reply.target, error.code)
    return data


def _without_records(reply: PartitionReply, code: ErrorCode) -> FetchResponse.PartitionData:
    stored: object = reply.data.records
    if isinstance(stored, FileSlice):
        stored.release()
    refused = refusal(reply.target, code)
    refused.records = None
    return refused


def _convert(records: FileSlice, magic: int, first_offset: int) -> bytes:
    try:
        return down_convert(records.read(), magic, first_offset)
    finally:
        records.release()
