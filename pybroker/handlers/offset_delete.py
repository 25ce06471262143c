"""OffsetDelete (key 47), version 0: deletes offsets of topics that a group no longer reads (KIP-496).

- A topic that a member of a consumer group subscribes to is GROUP_SUBSCRIBED_TO_TOPIC; other groups must have
  no members at all.
- What is wrong with the group is answered alone, without topics.
"""

from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import OffsetDeleteRequest, OffsetDeleteResponse


class OffsetDeleteHandler(Value):
    groups: GroupCoordinator

    async def __call__(self, ctx: RequestContext, request: OffsetDeleteRequest) -> OffsetDeleteResponse:
        asked = [
            TopicPartition(topic.name, partition.partition_index)
            for topic in request.topics
            for partition in topic.partitions
        ]
        known = [tp for tp in asked if ctx.image.partition(tp) is not None]
        deleted = self.groups.delete_offsets(request.group_id, known)
        codes = {tp: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION for tp in asked if tp not in deleted} | deleted
        topics: dict[str, OffsetDeleteResponse.OffsetDeleteResponseTopic] = {}
        for tp, code in codes.items():
            topic = topics.setdefault(tp.topic, OffsetDeleteResponse.OffsetDeleteResponseTopic(name=tp.topic))
            topic.partitions.append(
                OffsetDeleteResponse.OffsetDeleteResponsePartition(
                    partition_index=tp.partition, error_code=code
                )
            )
        return OffsetDeleteResponse(topics=list(topics.values()))
