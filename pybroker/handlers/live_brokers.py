"""The brokers that a client can reach: registered, and advertised on the listener that it came through."""

from collections.abc import Iterator

from pybroker.metadata.image import BrokerInfo, ClusterImage
from pybroker.model.endpoint import Endpoint


def live_brokers(image: ClusterImage, listener: str) -> Iterator[tuple[BrokerInfo, Endpoint]]:
    for broker in image.brokers.values():
        endpoint = broker.endpoint(listener)
        if endpoint is not None:
            yield broker, endpoint
