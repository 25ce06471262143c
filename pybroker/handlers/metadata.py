"""Metadata (key 3), versions 0 to 13.

- Brokers with their address on the client's listener, the controller, and the asked topics' partitions.
- No list of topics asks for all of them (in version 0 an empty list does), an empty one for none.
- An unknown topic is created when both the broker and the request allow it; its first answer is
  LEADER_NOT_AVAILABLE, so that the client asks again.
- A large reply is made and encoded once for all clients that ask for the same, until the cluster changes.
- Replicas on brokers that cannot be reached are listed all the same; version 0 leaves them out, and marks the
  partition REPLICA_NOT_AVAILABLE.

Versions: 4 the client may forbid auto creation; 8 authorised operations (KIP-430); 10 topic ids in replies,
12 in requests (KIP-516); 13 a top-level error for re-bootstrap (KIP-1102), which is not needed here.
"""

from collections.abc import Hashable, Iterable
from typing import TypeAlias

from pybroker.controller.auto_creation import AutoTopicCreation
from pybroker.handlers.context import RequestContext
from pybroker.handlers.live_brokers import live_brokers
from pybroker.handlers.shared import SharedResponse
from pybroker.metadata.image import ClusterImage, PartitionImage, TopicImage
from pybroker.model.acl import OPERATIONS_NOT_ASKED_FOR, ResourceType, every_operation_on
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import NO_LEADER, ZERO_TOPIC_ID, BrokerId, TopicId
from pybroker.model.topics import is_internal, topic_name_problem
from pybroker.model.values import Value
from pybroker.protocol.messages import MetadataRequest, MetadataResponse

FIRST_VERSION_WITH_TOPIC_IDS = 12
FIRST_VERSION_WITH_UNREACHABLE_REPLICAS = 1
FIRST_VERSION_WITH_LISTENER_NOT_FOUND = 6
VERSIONS_WITH_CLUSTER_OPERATIONS = range(8, 11)

SHARED_FROM_PARTITIONS = 100
"""The smallest reply that is kept: from here on making it costs more than looking for it."""
SHARED_REPLIES = 8
"""How many different replies are kept at a time, so that clients cannot fill the memory."""


class MetadataHandler(Value):
    auto_creation: AutoTopicCreation

    async def __call__(
        self, ctx: RequestContext, request: MetadataRequest
    ) -> MetadataResponse | SharedResponse[MetadataResponse]:
        _refuse_ids_in_old_versions(ctx, request)
        kept: _Kept = ctx.image.cache.setdefault(MetadataHandler, {})
        key = _everything_that_counts(ctx, request)
        shared = kept.get(key)
        if shared is not None:
            return shared
        response = await self._answer(ctx, request)
        if not _is_worth_keeping(response):
            return response
        if len(kept) >= SHARED_REPLIES:
            del kept[next(iter(kept))]
        shared = kept[key] = SharedResponse(response)
        return shared

    async def _answer(self, ctx: RequestContext, request: MetadataRequest) -> MetadataResponse:
        view = _View(ctx.image, ctx.listener, ctx.api_version)
        topics = await self._topics(ctx, request, view)
        if request.include_topic_authorized_operations:
            for topic in topics:
                if topic.error_code != ErrorCode.UNKNOWN_TOPIC_ID:
                    topic.topic_authorized_operations = every_operation_on(ResourceType.TOPIC)
        return MetadataResponse(
            brokers=[
                MetadataResponse.MetadataResponseBroker(
                    node_id=broker.broker_id, host=endpoint.host, port=endpoint.port, rack=broker.rack
                )
                for broker, endpoint in live_brokers(ctx.image, ctx.listener)
            ],
            cluster_id=ctx.image.cluster_id,
            controller_id=ctx.image.controller_id,
            topics=topics,
            cluster_authorized_operations=_cluster_operations(ctx, request),
        )

    async def _topics(
        self, ctx: RequestContext, request: MetadataRequest, view: "_View"
    ) -> list[MetadataResponse.MetadataResponseTopic]:
        if request.topics is None or (ctx.api_version == 0 and not request.topics):
            return [view.describe(topic) for topic in ctx.image.topics.values()]
        ids = [topic.topic_id for topic in request.topics if topic.topic_id != ZERO_TOPIC_ID]
        if ids:
            return view.by_ids(dict.fromkeys(ids))
        names = list(dict.fromkeys(topic.name for topic in request.topics if topic.name is not None))
        known = [view.describe(ctx.image.topics[name]) for name in names if name in ctx.image.topics]
        missing = [name for name in names if name not in ctx.image.topics]
        if not missing:
            return known
        return known + await self._missing(missing, allow_creation=request.allow_auto_topic_creation)

    async def _missing(
        self, names: list[str], *, allow_creation: bool
    ) -> list[MetadataResponse.MetadataResponseTopic]:
        if allow_creation and self.auto_creation.enabled:
            codes = await self.auto_creation.create(names)
        else:
            codes = {
                name: ErrorCode.INVALID_TOPIC_EXCEPTION
                if topic_name_problem(name)
                else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                for name in names
            }
        return [
            MetadataResponse.MetadataResponseTopic(error_code=code, name=name, is_internal=is_internal(name))
            for name, code in codes.items()
        ]


_Kept: TypeAlias = dict[Hashable, SharedResponse[MetadataResponse]]


def _everything_that_counts(ctx: RequestContext, request: MetadataRequest) -> Hashable:
    """What a reply depends on, beside the image. Whether topics may be created does not count for a reply
    that is kept: all its topics exist."""
    topics = request.topics
    return (
        ctx.api_version,
        ctx.listener,
        None if topics is None else tuple([(topic.name, topic.topic_id) for topic in topics]),
        request.include_topic_authorized_operations,
        request.include_cluster_authorized_operations,
    )


def _is_worth_keeping(response: MetadataResponse) -> bool:
    return sum([len(topic.partitions) for topic in response.topics]) >= SHARED_FROM_PARTITIONS and not any(
        topic.error_code for topic in response.topics
    )


def _refuse_ids_in_old_versions(ctx: RequestContext, request: MetadataRequest) -> None:
    if ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS:
        if any(topic.name is None and topic.topic_id == ZERO_TOPIC_ID for topic in request.topics or ()):
            raise ApiError(ErrorCode.INVALID_REQUEST, "A topic is asked for without name and id")
        return
    for topic in request.topics or ():
        if topic.name is None:
            raise ApiError(
                ErrorCode.INVALID_REQUEST, f"Topic name can not be null for version {ctx.api_version}"
            )
        if topic.topic_id != ZERO_TOPIC_ID:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"Topic IDs are not supported in requests for version {ctx.api_version}",
            )


def _cluster_operations(ctx: RequestContext, request: MetadataRequest) -> int:
    if ctx.api_version in VERSIONS_WITH_CLUSTER_OPERATIONS and request.include_cluster_authorized_operations:
        return every_operation_on(ResourceType.CLUSTER)
    return OPERATIONS_NOT_ASKED_FOR


class _View(Value):
    """What one client may see of the image: through its listener, in its version's terms."""

    image: ClusterImage
    listener: str
    api_version: int

    def by_ids(self, topic_ids: Iterable[TopicId]) -> list[MetadataResponse.MetadataResponseTopic]:
        unknown, known = [], []
        for topic_id in topic_ids:
            name = self.image.topic_names_by_id.get(topic_id)
            if name is None:
                unknown.append(
                    MetadataResponse.MetadataResponseTopic(
                        error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id
                    )
                )
            else:
                known.append(self.describe(self.image.topics[name]))
        return unknown + known

    def describe(self, topic: TopicImage) -> MetadataResponse.MetadataResponseTopic:
        return MetadataResponse.MetadataResponseTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=is_internal(topic.name),
            partitions=[self._partition(index, state) for index, state in topic.partitions.items()],
        )

    def _partition(self, index: int, state: PartitionImage) -> MetadataResponse.MetadataResponsePartition:
        replicas = self._listed(state.replicas)
        isr = self._listed(state.isr)
        leader_broker = self.image.brokers.get(state.leader)
        has_leader = leader_broker is not None and leader_broker.endpoint(self.listener) is not None
        if leader_broker is None:
            error = ErrorCode.LEADER_NOT_AVAILABLE
        elif not has_leader:
            knows = self.api_version >= FIRST_VERSION_WITH_LISTENER_NOT_FOUND
            error = ErrorCode.LISTENER_NOT_FOUND if knows else ErrorCode.LEADER_NOT_AVAILABLE
        elif len(replicas) < len(state.replicas) or len(isr) < len(state.isr):
            error = ErrorCode.REPLICA_NOT_AVAILABLE
        else:
            error = ErrorCode.NONE
        return MetadataResponse.MetadataResponsePartition(
            error_code=error,
            partition_index=index,
            leader_id=state.leader if has_leader else NO_LEADER,
            leader_epoch=state.leader_epoch,
            replica_nodes=replicas,
            isr_nodes=isr,
            offline_replicas=list(state.offline),
        )

    def _listed(self, replicas: Iterable[BrokerId]) -> list[BrokerId]:
        if self.api_version >= FIRST_VERSION_WITH_UNREACHABLE_REPLICAS:
            return list(replicas)
        brokers = self.image.brokers
        return [
            replica
            for replica in replicas
            if (broker := brokers.get(replica)) is not None and broker.endpoint(self.listener) is not None
        ]
