"""FindCoordinator (key 10), versions 0 to 6.

- Answers which broker coordinates a consumer group or a transactional id: the leader of the partition of
  ``__consumer_offsets`` or ``__transaction_state`` that its name hashes to. The topic is created when it is
  first asked for; until its partition has a leader the answer is COORDINATOR_NOT_AVAILABLE and the client
  asks again.

Versions: 1 key types; 4 several keys in one request (KIP-699); 6 share groups (KIP-932).

Left out for now: share groups (COORDINATOR_NOT_AVAILABLE, as in Kafka 3.9).
"""

from enum import IntEnum

from pybroker.controller.auto_creation import AutoTopicCreation
from pybroker.coordination.partitioning import coordinator_partition
from pybroker.handlers.context import RequestContext
from pybroker.handlers.leader_hints import LeaderHint, current_leader
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.topics import CONSUMER_OFFSETS, TRANSACTION_STATE
from pybroker.model.values import Value
from pybroker.protocol.messages import FindCoordinatorRequest, FindCoordinatorResponse

FIRST_VERSION_WITH_SEVERAL_KEYS = 4
FIRST_VERSION_WITH_SHARE_GROUPS = 6

_WORDS = {
    ErrorCode.NONE: "NONE",
    ErrorCode.COORDINATOR_NOT_AVAILABLE: "The coordinator is not available.",
    ErrorCode.INVALID_REQUEST: "This most likely occurs because of a request being malformed by the client "
    "library or the message was sent to an incompatible broker. See the broker logs for more details.",
}
"""What Kafka says with each code before version 4; later only of a coordinator type that does not exist."""


class CoordinatorType(IntEnum):
    GROUP = 0
    TRANSACTION = 1
    SHARE = 2


_TOPICS = {CoordinatorType.GROUP: CONSUMER_OFFSETS, CoordinatorType.TRANSACTION: TRANSACTION_STATE}


class FindCoordinatorHandler(Value):
    auto_creation: AutoTopicCreation

    async def __call__(self, ctx: RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse:
        if ctx.api_version < FIRST_VERSION_WITH_SEVERAL_KEYS:
            found = await self._coordinator(ctx, request.key_type, request.key)
            return FindCoordinatorResponse(
                error_code=found.error_code,
                error_message=_WORDS[ErrorCode(found.error_code)],
                node_id=found.node_id,
                host=found.host,
                port=found.port,
            )
        return FindCoordinatorResponse(
            coordinators=[
                await self._coordinator(ctx, request.key_type, key) for key in request.coordinator_keys
            ]
        )

    async def _coordinator(
        self, ctx: RequestContext, key_type: int, key: str
    ) -> FindCoordinatorResponse.Coordinator:
        try:
            hint = await self._leader(ctx, _known_type(ctx, key_type), key)
            if hint.node is None:
                raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        except ApiError as error:
            return FindCoordinatorResponse.Coordinator(
                key=key,
                node_id=-1,
                host="",
                port=-1,
                error_code=error.code,
                error_message=error.message or "",
            )
        broker, endpoint = hint.node
        return FindCoordinatorResponse.Coordinator(
            key=key, node_id=broker.broker_id, host=endpoint.host, port=endpoint.port
        )

    async def _leader(self, ctx: RequestContext, key_type: CoordinatorType, key: str) -> LeaderHint:
        name = _TOPICS.get(key_type)
        if name is None:
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        topic = ctx.image.topics.get(name)
        if topic is None:
            await self.auto_creation.create([name])
            raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        tp = TopicPartition(name, coordinator_partition(key, len(topic.partitions)))
        return current_leader(ctx.image, tp, ctx.listener)


def _known_type(ctx: RequestContext, key_type: int) -> CoordinatorType:
    if key_type == CoordinatorType.SHARE and ctx.api_version < FIRST_VERSION_WITH_SHARE_GROUPS:
        raise ApiError(ErrorCode.INVALID_REQUEST)
    try:
        return CoordinatorType(key_type)
    except ValueError:
        raise ApiError(ErrorCode.INVALID_REQUEST, _WORDS[ErrorCode.INVALID_REQUEST]) from None
