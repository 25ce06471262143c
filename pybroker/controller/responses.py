"""What the controller learns from the brokers' answers: failed disks, and finished deletions."""

from __future__ import annotations

import logging
from collections import Counter

from pybroker.controller import brokers
from pybroker.controller.channels import ControlRequest, ControlResponse
from pybroker.controller.context import Replica
from pybroker.controller.term import Term
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import BrokerId, TopicPartition
from pybroker.protocol import messages

log = logging.getLogger(__name__)


async def on_response(
    term: Term, broker_id: BrokerId, request: ControlRequest, response: ControlResponse
) -> None:
    """Handles one answer of one broker."""
    if response.error_code != ErrorCode.NONE:
        log.warning(
            "broker %d answered %s with %s",
            broker_id,
            type(request).__name__,
            ErrorCode(response.error_code).name,
        )
    if isinstance(request, messages.UpdateMetadataRequest):
        return
    if isinstance(response, messages.LeaderAndIsrResponse):
        if response.error_code == ErrorCode.NONE:
            await _on_leader_and_isr(term, broker_id, response)
    elif isinstance(response, messages.StopReplicaResponse) and isinstance(
        request, messages.StopReplicaRequest
    ):
        await _on_stop_replica(term, broker_id, request, response)


async def _on_leader_and_isr(
    term: Term, broker_id: BrokerId, response: messages.LeaderAndIsrResponse
) -> None:
    """A KAFKA_STORAGE_ERROR says that the replica's disk is gone, a success that it is back."""
    offline: set[TopicPartition] = set()
    online: set[TopicPartition] = set()
    refused: Counter[int] = Counter()
    for topic in response.topics:
        name = term.context.topic_names.get(bytes(topic.topic_id))
        if name is None:
            continue
        for error in topic.partition_errors:
            partition = TopicPartition(name, error.partition_index)
            if error.error_code == ErrorCode.KAFKA_STORAGE_ERROR:
                offline.add(partition)
            elif error.error_code == ErrorCode.NONE:
                online.add(partition)
            else:
                refused[error.error_code] += 1
    for code, count in refused.items():
        # Whoever has heard of a leader epoch already refuses to hear of it again.
        level = logging.DEBUG if code == ErrorCode.STALE_CONTROLLER_EPOCH else logging.WARNING
        log.log(level, "broker %d refuses orders for %d partitions: error %d", broker_id, count, code)
    before = term.context.offline_dirs.get(broker_id, set())
    after = (before - online) | offline
    if after == before:
        return
    term.context.offline_dirs[broker_id] = after
    newly_offline = sorted(after - before)
    if newly_offline:
        log.warning("broker %d lost the disks of %s", broker_id, ", ".join(map(str, newly_offline)))
        await brokers.replicas_went_offline(
            term, [Replica(partition, broker_id) for partition in newly_offline]
        )


async def _on_stop_replica(
    term: Term,
    broker_id: BrokerId,
    request: messages.StopReplicaRequest,
    response: messages.StopReplicaResponse,
) -> None:
    deleted = {
        TopicPartition(topic.topic_name, state.partition_index)
        for topic in request.topic_states
        if topic.topic_name in term.context.deletion_started
        for state in topic.partition_states
        if state.delete_partition
    }
    done: list[Replica] = []
    failed: list[Replica] = []
    for error in response.partition_errors:
        partition = TopicPartition(error.topic_name, error.partition_index)
        if partition in deleted:
            is_done = response.error_code == ErrorCode.NONE and error.error_code == ErrorCode.NONE
            (done if is_done else failed).append(Replica(partition, broker_id))
    if failed:
        await term.deletion.replicas_failed(failed)
    if done:
        await term.deletion.replicas_deleted(done)
