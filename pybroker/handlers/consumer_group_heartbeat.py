"""ConsumerGroupHeartbeat (key 68), versions 0 and 1: all that a member of a consumer group says (KIP-848).

- Epoch 0 joins, -1 leaves, -2 lets a static member leave for a while; else the member lives, and tells what
  it has when that has changed.
- Answered when what it led to is committed to the coordinator's log; with the member's assignment when that
  is new, or when the member told everything.
- UNSUPPORTED_VERSION while a broker of the cluster does not serve these groups (``group.version`` below 1).

Versions: 1 subscription by regular expression, and the client makes the member id (KIP-1082).
"""

from pybroker.coordination.group.consumer.calls import ConsumerHeartbeatCall, ConsumerHeartbeatReply
from pybroker.coordination.group.consumer.changes import by_topic
from pybroker.coordination.group.consumer.state import Assignment, TopicIdPartition
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.features import GROUP_VERSION
from pybroker.model.values import Value
from pybroker.protocol.messages import ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse

FIRST_VERSION_WITH_CLIENT_MEMBER_IDS = 1


class ConsumerGroupHeartbeatHandler(Value):
    groups: GroupCoordinator

    async def __call__(
        self, ctx: RequestContext, request: ConsumerGroupHeartbeatRequest
    ) -> ConsumerGroupHeartbeatResponse:
        if not ctx.image.features.get(GROUP_VERSION, 0):
            return ConsumerGroupHeartbeatResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
        try:
            reply = await self.groups.consumer_heartbeat(_call(ctx, request))
        except ApiError as error:
            return ConsumerGroupHeartbeatResponse(error_code=error.code, error_message=error.message)
        return _response(reply)


def _call(ctx: RequestContext, request: ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeatCall:
    names, owned = request.subscribed_topic_names, request.topic_partitions
    return ConsumerHeartbeatCall(
        group_id=request.group_id,
        member_id=request.member_id,
        member_epoch=request.member_epoch,
        instance_id=request.instance_id,
        rack_id=request.rack_id,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        topic_names=None if names is None else frozenset(names),
        topic_regex=request.subscribed_topic_regex,
        server_assignor=request.server_assignor,
        owned=None
        if owned is None
        else frozenset(
            TopicIdPartition(bytes(topic.topic_id), index) for topic in owned for index in topic.partitions
        ),
        client_id=ctx.client_id or "",
        client_host=f"/{ctx.client_host}",
        makes_own_id=ctx.api_version >= FIRST_VERSION_WITH_CLIENT_MEMBER_IDS,
    )


def _response(reply: ConsumerHeartbeatReply) -> ConsumerGroupHeartbeatResponse:
    return ConsumerGroupHeartbeatResponse(
        error_code=reply.error,
        error_message=reply.message,
        member_id=reply.member_id,
        member_epoch=reply.member_epoch,
        heartbeat_interval_ms=reply.heartbeat_interval_ms,
        assignment=None if reply.assignment is None else _assignment(reply.assignment),
    )


def _assignment(assignment: Assignment) -> ConsumerGroupHeartbeatResponse.Assignment:
    return ConsumerGroupHeartbeatResponse.Assignment(
        topic_partitions=[
            ConsumerGroupHeartbeatResponse.TopicPartitions(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in by_topic(assignment).items()
        ]
    )
