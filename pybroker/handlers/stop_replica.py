"""StopReplica (key 5), versions 0 to 4: the controller's order to stop serving partitions, or to delete them.

- Refused as a whole from an earlier controller or for an earlier registration of this broker; a partition by
  an older leader epoch. A partition that is not here is stopped already.

Versions: up to 2 say once for all partitions whether they are deleted, and carry no leader epochs.
"""

from pybroker.handlers.context import RequestContext
from pybroker.model.values import Value
from pybroker.protocol.messages import StopReplicaRequest, StopReplicaResponse
from pybroker.replication.replicas import Replicas

FIRST_VERSION_WITH_STATES = 3


class StopReplicaHandler(Value):
    replicas: Replicas

    async def __call__(self, ctx: RequestContext, request: StopReplicaRequest) -> StopReplicaResponse:
        if ctx.api_version < FIRST_VERSION_WITH_STATES:
            _to_states(request)
        return await self.replicas.stop_replica(request)


def _to_states(request: StopReplicaRequest) -> None:
    partitions = [(one.topic_name, one.partition_index) for one in request.ungrouped_partitions] + [
        (topic.name, index) for topic in request.topics for index in topic.partition_indexes
    ]
    states: dict[str, StopReplicaRequest.StopReplicaTopicState] = {}
    for name, index in partitions:
        topic = states.setdefault(name, StopReplicaRequest.StopReplicaTopicState(topic_name=name))
        topic.partition_states.append(
            StopReplicaRequest.StopReplicaPartitionState(
                partition_index=index, delete_partition=request.delete_partitions
            )
        )
    request.topic_states = list(states.values())
