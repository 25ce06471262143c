"""OffsetFetch (key 9), versions 0 to 10: the positions that groups have committed.

- A partition without a commit has the offset -1 and no error, also in a group that does not exist.

Versions: 0 reads what OffsetCommit v0 kept, and answers UNKNOWN_TOPIC_OR_PARTITION where there is nothing;
2 null asks for all partitions, and what is wrong with the group is told once, before it for each partition;
5 leader epochs (KIP-320); 7 unstable offsets can be refused (KIP-447); 8 several groups (KIP-709); 9 members
of consumer groups must name their epoch (KIP-848); 10 topic ids.

Unlike Kafka 3.9, and like Kafka 4.1, version 1 tells the error of a group for each partition: an answer
without partitions would mean that nothing was ever committed.
"""

from collections.abc import Mapping

from msgspec import field

from pybroker.coordination.group.calls import FetchCall, FetchedOffset, MemberEpoch
from pybroker.coordination.old_offsets import OldOffsets
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import ZERO_TOPIC_ID, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import OffsetFetchRequest, OffsetFetchResponse

FIRST_VERSION_WITH_COORDINATOR = 1
FIRST_VERSION_WITH_GROUP_ERROR = 2
FIRST_VERSION_WITH_SEVERAL_GROUPS = 8
FIRST_VERSION_WITH_TOPIC_IDS = 10


class _Found(Value):
    error: ErrorCode
    offsets: Mapping[TopicPartition, FetchedOffset] = field(default_factory=dict)


class OffsetFetchHandler(Value):
    groups: GroupCoordinator
    old_offsets: OldOffsets

    async def __call__(self, ctx: RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse:
        if ctx.api_version >= FIRST_VERSION_WITH_SEVERAL_GROUPS:
            return OffsetFetchResponse(
                groups=[self._group(ctx, asked, request.require_stable) for asked in request.groups]
            )
        asked = None
        if request.topics is not None:
            asked = [TopicPartition(t.name, index) for t in request.topics for index in t.partition_indexes]
        if ctx.api_version < FIRST_VERSION_WITH_COORDINATOR:
            old = [(tp, await self._old(ctx, request.group_id, tp)) for tp in asked or ()]
            return _single(_Found(ErrorCode.NONE, dict(old)))
        found = self._find(FetchCall(request.group_id, asked, request.require_stable))
        if found.error is not ErrorCode.NONE and ctx.api_version < FIRST_VERSION_WITH_GROUP_ERROR:
            failed = dict.fromkeys(asked or (), FetchedOffset(error=found.error))
            found = _Found(ErrorCode.NONE, failed)
        return _single(found)

    def _find(self, call: FetchCall) -> _Found:
        try:
            return _Found(ErrorCode.NONE, self.groups.fetch(call))
        except ApiError as error:
            return _Found(error.code)

    async def _old(self, ctx: RequestContext, group_id: str, tp: TopicPartition) -> FetchedOffset:
        if ctx.image.partition(tp) is None:
            return FetchedOffset(error=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        try:
            offset = await self.old_offsets.get(group_id, tp)
        except ApiError as error:
            return FetchedOffset(error=error.code)
        if offset is None:
            return FetchedOffset(error=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return FetchedOffset(offset)

    def _group(
        self, ctx: RequestContext, asked: OffsetFetchRequest.OffsetFetchRequestGroup, require_stable: bool
    ) -> OffsetFetchResponse.OffsetFetchResponseGroup:
        if ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS:
            return self._group_by_ids(ctx, asked, require_stable)
        partitions = None
        if asked.topics is not None:
            partitions = [
                TopicPartition(t.name, index) for t in asked.topics for index in t.partition_indexes
            ]
        found = self._find(FetchCall(asked.group_id, partitions, require_stable, _asking(asked)))
        return OffsetFetchResponse.OffsetFetchResponseGroup(
            group_id=asked.group_id, error_code=found.error, topics=_topics(found.offsets)
        )

    def _group_by_ids(
        self, ctx: RequestContext, asked: OffsetFetchRequest.OffsetFetchRequestGroup, require_stable: bool
    ) -> OffsetFetchResponse.OffsetFetchResponseGroup:
        names = ctx.image.topic_names_by_id
        partitions, unknown = None, []
        if asked.topics is not None:
            partitions = [
                TopicPartition(names[topic.topic_id], index)
                for topic in asked.topics
                if topic.topic_id in names
                for index in topic.partition_indexes
            ]
            unknown = [topic for topic in asked.topics if topic.topic_id not in names]
        found = self._find(FetchCall(asked.group_id, partitions, require_stable, _asking(asked)))
        group = OffsetFetchResponse.OffsetFetchResponseGroup(
            group_id=asked.group_id, error_code=found.error, topics=_topics(found.offsets)
        )
        for answered in group.topics:
            answered.topic_id = ctx.image.topic_id(answered.name) or ZERO_TOPIC_ID
        # Offsets of a topic that is gone have no id to be told by.
        group.topics = [answered for answered in group.topics if answered.topic_id != ZERO_TOPIC_ID]
        if found.error is ErrorCode.NONE:
            group.topics += [_unknown(topic) for topic in unknown]
        return group


def _asking(asked: OffsetFetchRequest.OffsetFetchRequestGroup) -> MemberEpoch:
    return MemberEpoch(asked.member_id, asked.member_epoch)


def _single(found: _Found) -> OffsetFetchResponse:
    topics: dict[str, OffsetFetchResponse.OffsetFetchResponseTopic] = {}
    for tp, offset in found.offsets.items():
        topic = topics.setdefault(tp.topic, OffsetFetchResponse.OffsetFetchResponseTopic(name=tp.topic))
        topic.partitions.append(
            OffsetFetchResponse.OffsetFetchResponsePartition(
                partition_index=tp.partition,
                committed_offset=offset.offset,
                committed_leader_epoch=offset.leader_epoch,
                metadata=offset.metadata,
                error_code=offset.error,
            )
        )
    return OffsetFetchResponse(error_code=found.error, topics=list(topics.values()))


def _topics(
    offsets: Mapping[TopicPartition, FetchedOffset],
) -> list[OffsetFetchResponse.OffsetFetchResponseTopics]:
    topics: dict[str, OffsetFetchResponse.OffsetFetchResponseTopics] = {}
    for tp, offset in offsets.items():
        topic = topics.setdefault(tp.topic, OffsetFetchResponse.OffsetFetchResponseTopics(name=tp.topic))
        topic.partitions.append(
            OffsetFetchResponse.OffsetFetchResponsePartitions(
                partition_index=tp.partition,
                committed_offset=offset.offset,
                committed_leader_epoch=offset.leader_epoch,
                metadata=offset.metadata,
                error_code=offset.error,
            )
        )
    return list(topics.values())


def _unknown(
    topic: OffsetFetchRequest.OffsetFetchRequestTopics,
) -> OffsetFetchResponse.OffsetFetchResponseTopics:
    return OffsetFetchResponse.OffsetFetchResponseTopics(
        topic_id=topic.topic_id,
        partitions=[
            OffsetFetchResponse.OffsetFetchResponsePartitions(
                partition_index=index,
                committed_offset=-1,
                metadata="",
                error_code=ErrorCode.UNKNOWN_TOPIC_ID,
            )
            for index in topic.partition_indexes
        ],
    )
