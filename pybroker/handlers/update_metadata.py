"""UpdateMetadata (key 6), versions 0 to 8: what the controller says of brokers and partitions.

- The one source of the cluster image's brokers, topics, leaders and ISRs, also on a single node.
- Refused from an earlier controller or for an earlier registration of this broker.

Versions: up to 4 list partitions without their topics, 0 one address per broker; 7 brings topic ids.
"""

from collections.abc import Callable, Sequence

from pybroker.handlers.context import RequestContext
from pybroker.metadata.publisher import Publisher
from pybroker.model.endpoint import SecurityProtocol
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import BrokerEpoch, ControllerEpoch, TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import UpdateMetadataRequest, UpdateMetadataResponse

FIRST_VERSION_WITH_ENDPOINTS = 1
FIRST_VERSION_WITH_LISTENER_NAMES = 3
FIRST_VERSION_BY_TOPIC = 5


class UpdateMetadataHandler(Value):
    publisher: Publisher
    refuse_order: Callable[[BrokerEpoch, ControllerEpoch], ErrorCode]
    on_deleted: Callable[[Sequence[TopicPartition]], None]

    async def __call__(self, ctx: RequestContext, request: UpdateMetadataRequest) -> UpdateMetadataResponse:
        refused = self.refuse_order(request.broker_epoch, request.controller_epoch)
        if refused is ErrorCode.NONE:
            _refuse_unknown_protocols(request)
            if ctx.api_version < FIRST_VERSION_WITH_LISTENER_NAMES:
                _name_listeners(ctx.api_version, request)
            if ctx.api_version < FIRST_VERSION_BY_TOPIC:
                _group_by_topic(request)
            deleted = self.publisher.apply_update_metadata(request)
            if deleted:
                self.on_deleted(deleted)
        return UpdateMetadataResponse(error_code=refused)


def _refuse_unknown_protocols(request: UpdateMetadataRequest) -> None:
    known = {protocol.value for protocol in SecurityProtocol}
    for broker in request.live_brokers:
        for endpoint in broker.endpoints:
            if endpoint.security_protocol not in known:
                raise ApiError(
                    ErrorCode.INVALID_REQUEST,
                    f"broker {broker.id} has the unknown security protocol {endpoint.security_protocol}",
                )


def _name_listeners(version: int, request: UpdateMetadataRequest) -> None:
    """Before listeners had names, they were called like their security protocol."""
    for broker in request.live_brokers:
        if version < FIRST_VERSION_WITH_ENDPOINTS:
            broker.endpoints = [
                UpdateMetadataRequest.UpdateMetadataEndpoint(host=broker.v0_host, port=broker.v0_port)
            ]
        for endpoint in broker.endpoints:
            endpoint.listener = SecurityProtocol(endpoint.security_protocol).name


def _group_by_topic(request: UpdateMetadataRequest) -> None:
    states: dict[str, UpdateMetadataRequest.UpdateMetadataTopicState] = {}
    for state in request.ungrouped_partition_states:
        topic = states.setdefault(
            state.topic_name, UpdateMetadataRequest.UpdateMetadataTopicState(topic_name=state.topic_name)
        )
        topic.partition_states.append(state)
    request.topic_states = list(states.values())
