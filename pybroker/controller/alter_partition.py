"""Accepts or refuses the ISR a leader wants (KIP-497). Source: Kafka 3.9 ``tryProcessAlterPartition``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from pybroker.controller import reassignment
from pybroker.controller.term import Term
from pybroker.metadata.znodes import RECOVERED, RECOVERING, LeaderAndIsr, PartitionStateZNode
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol import messages

log = logging.getLogger(__name__)

USES_TOPIC_IDS_FROM = 2
"""Version with topic ids instead of names (KIP-841)."""

USES_BROKER_EPOCHS_FROM = 3
"""Version with a broker epoch beside each ISR member (KIP-903); ZooKeeper controllers ignore the epochs."""


class Verdict(Value):
    """What a leader is answered for one partition: the state as it is now, or an error."""

    state: LeaderAndIsr | None = None
    error: ErrorCode = ErrorCode.NONE


async def alter_partition(
    term: Term, request: messages.AlterPartitionRequest, version: int
) -> messages.AlterPartitionResponse:
    """Writes the wanted ISRs that are acceptable, and tells all brokers of them.

    Raises:
        ControllerMoved: somebody else is the controller.
    """
    context = term.context
    if context.broker_epochs.get(request.broker_id) != request.broker_epoch:
        log.info("refusing an ISR change of broker %d: stale epoch", request.broker_id)
        return messages.AlterPartitionResponse(error_code=ErrorCode.STALE_BROKER_EPOCH)
    wanted = _wanted(term, request, version)
    verdicts: dict[TopicPartition, Verdict] = {}
    accepted: dict[TopicPartition, LeaderAndIsr] = {}
    for partition, state in wanted.items():
        verdict = judge(context.leaderships.get(partition), state, context.live, version)
        if verdict is None:
            accepted[partition] = state
        else:
            verdicts[partition] = verdict
    updates = await term.partition_store.update(accepted)
    for partition, state in updates.done.items():
        verdicts[partition] = Verdict(state)
        context.leaderships[partition] = PartitionStateZNode(state, context.epoch)
    for partition in updates.retry:
        verdicts[partition] = Verdict(error=ErrorCode.INVALID_UPDATE_VERSION)
    for partition, error in updates.failed.items():
        log.warning("partition %s: %r", partition, error)
        verdicts[partition] = Verdict(error=ErrorCode.UNKNOWN_SERVER_ERROR)
    term.tell(context.brokers, wanted)
    for partition, verdict in verdicts.items():
        if verdict.state is not None and context.assignment_of(partition).is_being_reassigned:
            term.post(partial(reassignment.maybe_complete, term, partition))
    return _response(term, request, verdicts, version)


def judge(
    leadership: PartitionStateZNode | None, wanted: LeaderAndIsr, live: set[int], version: int
) -> Verdict | None:
    """None if the wanted state may be written; a verdict if it may not, or if it is the present one."""
    if leadership is None:
        return Verdict(error=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    current = leadership.state
    if wanted.partition_epoch > current.partition_epoch or wanted.leader_epoch > current.leader_epoch:
        # The leader knows more than we do: we are probably not the controller any more.
        return Verdict(error=ErrorCode.NOT_CONTROLLER)
    if wanted.leader_epoch < current.leader_epoch:
        return Verdict(error=ErrorCode.FENCED_LEADER_EPOCH)
    if _is_same(current, wanted):
        # Before the partition epoch is looked at, so that a repeated request gets the same answer.
        return Verdict(current)
    if wanted.partition_epoch < current.partition_epoch:
        return Verdict(error=ErrorCode.INVALID_UPDATE_VERSION)
    if wanted.recovery_state == RECOVERING and (len(wanted.isr) > 1 or current.recovery_state == RECOVERED):
        return Verdict(error=ErrorCode.INVALID_REQUEST)
    if not live.issuperset(wanted.isr):
        has_code = version >= USES_TOPIC_IDS_FROM
        return Verdict(error=ErrorCode.INELIGIBLE_REPLICA if has_code else ErrorCode.OPERATION_NOT_ATTEMPTED)
    return None


def _is_same(current: LeaderAndIsr, wanted: LeaderAndIsr) -> bool:
    return (
        current.leader == wanted.leader
        and current.isr == wanted.isr
        and current.recovery_state == wanted.recovery_state
        and wanted.partition_epoch <= current.partition_epoch
    )


def _wanted(
    term: Term, request: messages.AlterPartitionRequest, version: int
) -> dict[TopicPartition, LeaderAndIsr]:
    wanted: dict[TopicPartition, LeaderAndIsr] = {}
    for topic in request.topics:
        name = _topic_name(term, topic, version)
        if name is None:
            continue
        for partition in topic.partitions:
            isr = (
                tuple(member.broker_id for member in partition.new_isr_with_epochs)
                if version >= USES_BROKER_EPOCHS_FROM
                else tuple(partition.new_isr)
            )
            wanted[TopicPartition(name, partition.partition_index)] = LeaderAndIsr(
                leader=request.broker_id,
                leader_epoch=partition.leader_epoch,
                isr=isr,
                recovery_state=partition.leader_recovery_state,
                partition_epoch=partition.partition_epoch,
            )
    return wanted


def _topic_name(term: Term, topic: messages.AlterPartitionRequest.TopicData, version: int) -> str | None:
    if version >= USES_TOPIC_IDS_FROM:
        return term.context.topic_names.get(bytes(topic.topic_id))
    return topic.topic_name


def _response(
    term: Term,
    request: messages.AlterPartitionRequest,
    verdicts: Mapping[TopicPartition, Verdict],
    version: int,
) -> messages.AlterPartitionResponse:
    response = messages.AlterPartitionResponse()
    for topic in request.topics:
        name = _topic_name(term, topic, version)
        answer = messages.AlterPartitionResponse.TopicData(
            topic_name=topic.topic_name, topic_id=bytes(topic.topic_id)
        )
        for partition in topic.partitions:
            verdict = (
                Verdict(error=ErrorCode.UNKNOWN_TOPIC_ID)
                if name is None
                else verdicts[TopicPartition(name, partition.partition_index)]
            )
            answer.partitions.append(_partition_answer(partition.partition_index, verdict))
        response.topics.append(answer)
    return response


def _partition_answer(index: int, verdict: Verdict) -> messages.AlterPartitionResponse.PartitionData:
    state = verdict.state
    if state is None:
        return messages.AlterPartitionResponse.PartitionData(partition_index=index, error_code=verdict.error)
    return messages.AlterPartitionResponse.PartitionData(
        partition_index=index,
        leader_id=state.leader,
        leader_epoch=state.leader_epoch,
        isr=list(state.isr),
        leader_recovery_state=state.recovery_state,
        partition_epoch=state.partition_epoch,
    )
