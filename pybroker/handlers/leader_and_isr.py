"""LeaderAndIsr (key 4), versions 0 to 7: the controller's order to lead or to follow partitions.

- Refused as a whole from an earlier controller or for an earlier registration of this broker; each partition
  is taken over by its own leader epoch. The rules are in :mod:`pybroker.replication.replicas`.
- The configuration of topics that are new here is read before their logs are opened.

Versions: up to 1 list partitions without their topics; 5 brings topic ids, and replies by topic id.
"""

from pybroker.handlers.context import RequestContext
from pybroker.metadata.config_changes import ConfigChanges
from pybroker.model.errors import ErrorCode
from pybroker.model.topics import topic_name_problem
from pybroker.model.values import Value
from pybroker.protocol.messages import LeaderAndIsrRequest, LeaderAndIsrResponse
from pybroker.replication.replicas import Replicas

FIRST_VERSION_BY_TOPIC = 2
FIRST_VERSION_WITH_TOPIC_IDS = 5


class LeaderAndIsrHandler(Value):
    replicas: Replicas
    configs: ConfigChanges

    async def __call__(self, ctx: RequestContext, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse:
        if ctx.api_version < FIRST_VERSION_BY_TOPIC:
            _group_by_topic(request)
        if self.replicas.refuse_order(request.broker_epoch, request.controller_epoch) is ErrorCode.NONE:
            names = [topic.topic_name for topic in request.topic_states]
            await self.configs.ensure_topics([name for name in names if topic_name_problem(name) is None])
        response = await self.replicas.apply_leader_and_isr(request)
        if ctx.api_version < FIRST_VERSION_WITH_TOPIC_IDS:
            response.partition_errors = [
                error for topic in response.topics for error in topic.partition_errors
            ]
            response.topics = []
        return response


def _group_by_topic(request: LeaderAndIsrRequest) -> None:
    states: dict[str, LeaderAndIsrRequest.LeaderAndIsrTopicState] = {}
    for state in request.ungrouped_partition_states:
        topic = states.setdefault(
            state.topic_name, LeaderAndIsrRequest.LeaderAndIsrTopicState(topic_name=state.topic_name)
        )
        topic.partition_states.append(state)
    request.topic_states = list(states.values())
