"""What a controller does between its election and its first decision. The order is Kafka's."""

import logging

from pybroker.controller import brokers, notifications, preferred, reassignment, topics
from pybroker.controller.responses import on_response
from pybroker.controller.term import Term
from pybroker.metadata.store import Create, MultiFailed, NodeExists, NoNode, SetData
from pybroker.metadata.znodes import FeatureZNode, MalformedZnode

log = logging.getLogger(__name__)


async def fail_over(term: Term) -> None:
    """Reads everything, sets every watch, tells every broker, elects what needs a leader.

    Raises:
        ControllerMoved: somebody else is the controller already.
    """
    term.on_response = lambda broker_id, request, response: on_response(term, broker_id, request, response)
    await _set_up_features(term)
    await notifications.discard_old(term)
    await brokers.load(term)
    await topics.load(term)
    await topics.load_deletions(term)
    context = term.context
    log.info(
        "controller %d, epoch %d: %d brokers, %d topics",
        term.config.broker_id,
        context.epoch,
        len(context.brokers),
        len(context.assignments),
    )
    term.tell(context.brokers)
    await term.replicas.start()
    await term.partitions.start()
    await reassignment.resume_all(term)
    await term.deletion.resume()
    await preferred.on_wish(term)


async def _set_up_features(term: Term) -> None:
    """Makes /feature, enabled and empty, if it is missing, and enables it if it is not. Levels are kept;
    brokers that do not support them are not let in."""
    try:
        data, stat = await term.store.get(FeatureZNode.path)
    except NoNode:
        node = FeatureZNode(FeatureZNode.ENABLED, {})
        try:
            await term.fenced.multi([Create(FeatureZNode.path, node.encode())])
        except MultiFailed as refused:
            if not isinstance(refused.error, NodeExists):
                raise
        return
    try:
        existing = FeatureZNode.decode(data)
    except MalformedZnode as error:
        log.error("the finalized features are ignored: %s", error)
        return
    term.context.finalized_features = existing.max_levels
    if existing.status != FeatureZNode.ENABLED:
        term.context.finalized_features = {}
        enabled = FeatureZNode(FeatureZNode.ENABLED, {})
        await term.fenced.multi([SetData(FeatureZNode.path, enabled.encode(), stat.version)])
