"""ConsumerGroupDescribe (key 69), versions 0 and 1: members and assignments of consumer groups (KIP-848).

- Partitions of topics that do not exist any more are left out.
- A group that does not exist, or is a classic one, is GROUP_ID_NOT_FOUND; tools then ask DescribeGroups.
- UNSUPPORTED_VERSION while a broker of the cluster does not serve these groups (``group.version`` below 1).

Versions: 1 tells which protocol each member speaks (KIP-1099).
"""

from collections.abc import Iterable

from pybroker.coordination.group.consumer.calls import ConsumerGroupDescription, DescribedConsumerMember
from pybroker.coordination.group.consumer.changes import by_topic
from pybroker.coordination.group.consumer.state import TopicIdPartition
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.metadata.image import ClusterImage
from pybroker.model.acl import ResourceType, every_operation_on
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.features import GROUP_VERSION
from pybroker.model.values import Value
from pybroker.protocol.messages import ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse

CLASSIC_MEMBER, CONSUMER_MEMBER = 0, 1
Described = ConsumerGroupDescribeResponse.DescribedGroup


class ConsumerGroupDescribeHandler(Value):
    groups: GroupCoordinator

    async def __call__(
        self, ctx: RequestContext, request: ConsumerGroupDescribeRequest
    ) -> ConsumerGroupDescribeResponse:
        described = [self._describe(ctx, group_id) for group_id in request.group_ids]
        if request.include_authorized_operations:
            for group in described:
                if group.error_code == ErrorCode.NONE:
                    group.authorized_operations = every_operation_on(ResourceType.GROUP)
        return ConsumerGroupDescribeResponse(groups=described)

    def _describe(self, ctx: RequestContext, group_id: str) -> Described:
        if not ctx.image.features.get(GROUP_VERSION, 0):
            return Described(group_id=group_id, error_code=ErrorCode.UNSUPPORTED_VERSION)
        try:
            found = self.groups.describe_consumer_group(group_id)
        except ApiError as error:
            return Described(group_id=group_id, error_code=error.code, error_message=error.message)
        if found is None:
            return Described(
                group_id=group_id,
                error_code=ErrorCode.GROUP_ID_NOT_FOUND,
                error_message=f"Group {group_id} is not a consumer group.",
            )
        return _described(ctx.image, group_id, found)


def _described(image: ClusterImage, group_id: str, group: ConsumerGroupDescription) -> Described:
    return Described(
        group_id=group_id,
        group_state=group.state,
        group_epoch=group.epoch,
        assignment_epoch=group.target_epoch,
        assignor_name=group.assignor,
        members=[_member(image, one) for one in group.members],
    )


def _member(image: ClusterImage, described: DescribedConsumerMember) -> ConsumerGroupDescribeResponse.Member:
    member, profile = described.member, described.member.profile
    return ConsumerGroupDescribeResponse.Member(
        member_id=member.member_id,
        instance_id=profile.instance_id,
        rack_id=profile.rack_id,
        member_epoch=member.current.epoch,
        client_id=profile.client_id,
        client_host=profile.client_host,
        subscribed_topic_names=sorted(profile.topic_names),
        subscribed_topic_regex=profile.topic_regex,
        assignment=_assignment(image, described.owned),
        target_assignment=_assignment(image, described.target),
        member_type=CLASSIC_MEMBER if member.is_classic else CONSUMER_MEMBER,
    )


def _assignment(
    image: ClusterImage, partitions: Iterable[TopicIdPartition]
) -> ConsumerGroupDescribeResponse.Assignment:
    names = image.topic_names_by_id
    return ConsumerGroupDescribeResponse.Assignment(
        topic_partitions=[
            ConsumerGroupDescribeResponse.TopicPartitions(
                topic_id=topic_id, topic_name=names[topic_id], partitions=indexes
            )
            for topic_id, indexes in by_topic(partitions).items()
            if topic_id in names
        ]
    )
