"""What the controller does when topics come, grow, or are to be deleted."""

import logging
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from pybroker.controller.election import Strategy
from pybroker.controller.term import Term
from pybroker.metadata.store import Delete, MultiFailed, NoNode, Op, SetData
from pybroker.metadata.znodes import (
    DeleteTopicsTopicZNode,
    DeleteTopicsZNode,
    MalformedZnode,
    TopicsZNode,
    TopicZNode,
)
from pybroker.model.ids import TopicPartition, new_topic_id

log = logging.getLogger(__name__)


async def load(term: Term) -> None:
    """Reads all topics, their assignments and leaderships at failover."""
    names = await term.store.children(TopicsZNode.path, term.watcher(on_change))
    await _read_topics(term, names)
    partitions = term.context.all_partitions()
    term.context.leaderships = await term.partition_store.read(partitions)


async def load_deletions(term: Term) -> None:
    """Queues the deletions that were asked for before the failover, without starting them."""
    context = term.context
    names = await term.store.children(DeleteTopicsZNode.path, term.watcher(on_deletion))
    existing = [name for name in names if name in context.assignments]
    if not term.config.delete_topic_enable:
        await _forget_wishes(term, names)
        return
    await _forget_wishes(term, [name for name in names if name not in context.assignments])
    context.to_delete.update(existing)
    for topic in existing:
        if any(
            not context.is_online(replica.broker_id, replica.partition)
            for replica in context.replicas_of_topic(topic)
        ):
            term.deletion.park([topic], "replicas are offline")
        elif _is_being_reassigned(term, topic):
            term.deletion.park([topic], "a reassignment is running")


async def on_change(term: Term) -> None:
    """/brokers/topics changed: takes up new topics and forgets those somebody removed."""
    context = term.context
    names = set(await term.store.children(TopicsZNode.path, term.watcher(on_change)))
    for gone in context.assignments.keys() - names:
        context.remove_topic(gone)
    fresh = sorted(names - context.assignments.keys())
    await _read_topics(term, fresh)
    await _created(term, [partition for topic in fresh for partition in context.partitions_of(topic)])


async def on_data_change(term: Term, topic: str) -> None:
    """A topic's node changed: takes up partitions that were added."""
    context = term.context
    path = TopicZNode.path(topic)
    try:
        data, stat = await term.store.get(path, term.path_watcher(on_data_change))
        node = TopicZNode.decode(topic, data)
    except NoNode:
        return
    except MalformedZnode as error:
        log.error("a change of topic %s is ignored: %s", topic, error)
        return
    known = context.assignments.get(topic)
    if known is None:
        return
    added = [index for index in node.partitions if index not in known]
    if not added:
        return
    if topic in context.to_delete:
        log.warning("topic %s is being deleted; its new partitions %s are taken back", topic, added)
        restored = TopicZNode(dict(known), node.topic_id)
        await term.fenced.multi([SetData(path, restored.encode(), stat.version)])
        return
    for index in added:
        known[index] = node.partitions[index]
    context.assignments[topic] = dict(sorted(known.items()))
    await _created(term, [TopicPartition(topic, index) for index in added])


async def on_deletion(term: Term) -> None:
    """/admin/delete_topics changed: starts the deletions that are asked for."""
    context = term.context
    names = await term.store.children(DeleteTopicsZNode.path, term.watcher(on_deletion))
    unknown = [name for name in names if name not in context.assignments]
    if unknown and set(unknown) & set(await term.store.children(TopicsZNode.path)):
        # Created and deleted before the creation was looked at: first things first.
        await on_change(term)
        unknown = [name for name in names if name not in context.assignments]
    await _forget_wishes(term, unknown if term.config.delete_topic_enable else names)
    if not term.config.delete_topic_enable:
        return
    wanted = [name for name in names if name in context.assignments]
    fresh = [name for name in wanted if name not in context.to_delete]
    if not fresh:
        return
    log.info("deletion of %s was asked for", ", ".join(fresh))
    context.to_delete.update(fresh)
    for topic in fresh:
        if _is_being_reassigned(term, topic):
            term.deletion.park([topic], "a reassignment is running")
    await term.deletion.enqueue(fresh)


async def _read_topics(term: Term, names: Sequence[str]) -> None:
    watch = term.path_watcher(on_data_change)
    nodes = await term.store.get_all([TopicZNode.path(name) for name in names], watch)
    without_id: list[tuple[str, TopicZNode, int]] = []
    for name, node in zip(names, nodes, strict=True):
        if node is None:
            continue
        try:
            topic = TopicZNode.decode(name, node[0])
        except MalformedZnode as error:
            log.error("topic %s is ignored: %s", name, error)
            continue
        if topic.topic_id is None:
            without_id.append((name, topic, node[1].version))
        else:
            term.context.set_topic(name, topic)
    for name, topic, version in without_id:
        with_id = replace(topic, topic_id=new_topic_id())
        await term.fenced.multi([SetData(TopicZNode.path(name), with_id.encode(), version)])
        term.context.set_topic(name, with_id)


async def _created(term: Term, partitions: Sequence[TopicPartition]) -> None:
    if not partitions:
        return
    replicas = term.context.replicas_of_partitions(partitions)
    term.partitions.new(partitions)
    term.replicas.new(replicas)
    await term.partitions.online(partitions, Strategy.OFFLINE)
    await term.replicas.online(replicas)


async def _forget_wishes(term: Term, names: Iterable[str]) -> None:
    deletions: list[list[Op]] = [[Delete(DeleteTopicsTopicZNode.path(name))] for name in names]
    for answer in await term.fenced.multi_all(deletions):
        if isinstance(answer, MultiFailed) and not isinstance(answer.error, NoNode):
            raise answer


def _is_being_reassigned(term: Term, topic: str) -> bool:
    assignments = term.context.assignments.get(topic, {})
    return any(assignment.is_being_reassigned for assignment in assignments.values())
