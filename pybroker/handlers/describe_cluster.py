"""DescribeCluster (key 60), versions 0 to 2.

- Names the live brokers that can be reached on the client's listener, the controller and the cluster id
  (KIP-700); on request, what the client may do to the cluster.
- Only the brokers' endpoints are served: asking for controllers (KIP-919) is refused, as there is no quorum.

Versions: 1 brings the endpoint type; 2 fenced brokers, of which a ZooKeeper-mode cluster has none.
"""

from pybroker.handlers.context import RequestContext
from pybroker.handlers.live_brokers import live_brokers
from pybroker.model.acl import OPERATIONS_NOT_ASKED_FOR, ResourceType, every_operation_on
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import NO_LEADER
from pybroker.model.values import Value
from pybroker.protocol.messages import DescribeClusterRequest, DescribeClusterResponse

BROKER_ENDPOINTS = 1
CONTROLLER_ENDPOINTS = 2


class DescribeClusterHandler(Value):
    async def __call__(self, ctx: RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse:
        if request.endpoint_type != BROKER_ENDPOINTS:
            return _wrong_endpoint_type(ctx, request.endpoint_type)
        brokers = [
            DescribeClusterResponse.DescribeClusterBroker(
                broker_id=broker.broker_id, host=endpoint.host, port=endpoint.port, rack=broker.rack
            )
            for broker, endpoint in live_brokers(ctx.image, ctx.listener)
        ]
        controller_id = ctx.image.controller_id
        return DescribeClusterResponse(
            cluster_id=ctx.image.cluster_id,
            controller_id=controller_id
            if any(broker.broker_id == controller_id for broker in brokers)
            else NO_LEADER,
            brokers=brokers,
            cluster_authorized_operations=every_operation_on(ResourceType.CLUSTER)
            if request.include_cluster_authorized_operations
            else OPERATIONS_NOT_ASKED_FOR,
        )


def _wrong_endpoint_type(ctx: RequestContext, asked: int) -> DescribeClusterResponse:
    if asked == CONTROLLER_ENDPOINTS:
        code = ErrorCode.MISMATCHED_ENDPOINT_TYPE
        words = (
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
        )
    else:
        code = ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
        words = f"Unsupported endpoint type {asked}"
    if ctx.api_version == 0:
        code = ErrorCode.INVALID_REQUEST
    return DescribeClusterResponse(error_code=code, error_message=words)
