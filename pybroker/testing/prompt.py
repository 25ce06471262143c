"""Topics that come into being because a client asked for them are there when it is answered.

Apache Kafka answers LEADER_NOT_AVAILABLE or COORDINATOR_NOT_AVAILABLE at once, and the client asks again
50 ms to a second later: most of the time of a test with a fresh broker. Creating the topic takes 3 to 10 ms.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from pybroker.instruments.seams import Answer, Around
from pybroker.model.errors import ErrorCode
from pybroker.model.topics import CONSUMER_OFFSETS, TRANSACTION_STATE

if TYPE_CHECKING:
    from pybroker.app import Broker

METADATA: Final = 3
FIND_COORDINATOR: Final = 10
_INTERNAL: Final = {0: CONSUMER_OFFSETS, 1: TRANSACTION_STATE}
"""Key type of FindCoordinator -> the topic that it creates."""

PATIENCE_S: Final = 3.0
"""After so long the client is told to ask again after all: more than a topic takes on a busy machine, less
than makes clients give up. I/O time, since the client waits."""


def prompt(broker: Callable[[], "Broker | None"]) -> Around:
    """The seam of one broker, next to its handlers: asks them again when the cluster's image has changed."""

    async def around(context: Any, request: Any, answer: Answer) -> Any:
        creates = context.api_key == METADATA or _creates_internal_topic(context, request)
        response = await answer(request)
        if not creates or not _comes_too_early(response) or (asked := broker()) is None:
            return response
        with trio.move_on_after(PATIENCE_S):
            while _comes_too_early(response):
                context.image = await _image_after(asked, context.image)
                await asked.coordinators_loaded()
                response = await answer(request)
        return response

    return around


def _creates_internal_topic(context: Any, request: Any) -> bool:
    topic = _INTERNAL.get(request.key_type) if context.api_key == FIND_COORDINATOR else None
    return topic is not None and topic not in context.image.topics


def _comes_too_early(response: Any) -> bool:
    """Whether a response says so of a topic. When a topic has lost its leader only its partitions do."""
    if hasattr(response, "coordinators"):
        found = (response, *response.coordinators)
        return any(one.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE for one in found)
    return any(topic.error_code == ErrorCode.LEADER_NOT_AVAILABLE for topic in response.topics)


async def _image_after(broker: "Broker", seen: object) -> Any:
    """The image as soon as it is another than the one ``seen``."""
    changed = trio.Event()
    forget = broker.publisher.on_change(lambda _old, _new: changed.set())
    try:
        if broker.image is seen:
            await changed.wait()
    finally:
        forget()
    return broker.image
