"""Produce (key 0), versions 0 to 13.

- Appends the batch of each partition on its own: one that is refused does not touch the others.
- acks 0: no reply; any error closes the connection, so that the producer notices. acks 1: answered when the
  leader has written. acks -1: refused when the ISR is below ``min.insync.replicas``, answered when the high
  watermark has passed the batch, or with REQUEST_TIMED_OUT after ``timeout_ms``.
- Idempotent producers: a batch seen before is acknowledged again with its old offset; a gap is refused.
- Transactional producers: before a partition takes a transaction's first batch its coordinator is asked
  (:mod:`pybroker.handlers.produce_transactions`).
- Clients do not write to internal topics, except Kafka's own admin client id.

Versions: 3 brings batches of magic 2 and transactional ids; 7 zstd; 8 errors per record (KIP-467); 10 the
current leader in refusals (KIP-951); 11 TRANSACTION_ABORTABLE; 12 adds its partitions to the transaction
(KIP-890); 13 topic ids (KIP-516).
"""

from collections.abc import Callable, Collection, Iterable

import trio

from pybroker.coordination.runtime.verification import TransactionVerifier
from pybroker.handlers.context import RequestContext
from pybroker.handlers.leader_hints import current_leader
from pybroker.handlers.produce_transactions import NOTHING_TO_CONFIRM, Confirmed, confirm
from pybroker.instruments.pace import Pace
from pybroker.model.errors import ApiError, CloseConnection, ErrorCode
from pybroker.model.ids import UNKNOWN_OFFSET, Offset, TopicId, TopicPartition
from pybroker.model.topics import is_internal
from pybroker.model.values import State, Value
from pybroker.protocol.messages import ProduceRequest, ProduceResponse
from pybroker.records.errors import InvalidRecords, NothingToAppend, UnfitForRequest
from pybroker.records.header import is_transactional
from pybroker.records.policy import ValidationPolicy
from pybroker.records.validation import ValidatedBatch, is_long, validate_produce
from pybroker.replication.disk import flush
from pybroker.replication.isr import Leadership
from pybroker.replication.partition import Partition
from pybroker.replication.replicas import Replicas
from pybroker.replication.storage_errors import api_error
from pybroker.replication.waiters import waiting_on
from pybroker.storage.errors import StorageError
from pybroker.storage.log import AppendInfo

FIRST_VERSION_WITH_LEADER_HINTS = 10
FIRST_VERSION_WITH_TOPIC_IDS = 13
ACKS_NONE = 0
ACKS_LEADER = 1
ACKS_ALL = -1
_SAY_NOTHING_OF_THE_LOG = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.INVALID_REQUIRED_ACKS,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.KAFKA_STORAGE_ERROR,
    }
)
"""Refusals whose log start offset stays -1. Source: ``ReplicaManager.appendToLocalLog``."""

ADMIN_CLIENT_ID = "__admin_client"


class _Outcome(State):
    """What became of one partition's batch. ``end_offset`` (exclusive) is what acks=-1 waits for, as long as
    the ``leadership`` in which it was appended lasts: a later one may have other records there."""

    reply: ProduceResponse.PartitionProduceResponse
    tp: TopicPartition
    partition: Partition | None = None
    end_offset: Offset = UNKNOWN_OFFSET
    leadership: Leadership | None = None

    @property
    def has_failed(self) -> bool:
        return self.reply.error_code != ErrorCode.NONE

    @property
    def is_committed(self) -> bool:
        return (
            self.partition is None or not self._is_led_on or self.partition.high_watermark >= self.end_offset
        )

    @property
    def _is_led_on(self) -> bool:
        return self.partition is not None and self.leadership is self.partition.leadership is not None

    def settle(self) -> None:
        """Decide what an acks=-1 append is told, now that it is committed or never will be here."""
        if self.has_failed or self.partition is None:
            return
        if self.partition.is_offline:
            self.reply.error_code = ErrorCode.KAFKA_STORAGE_ERROR
        elif not self._is_led_on:
            self.reply.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER
        elif not self.is_committed:
            self.reply.error_code = ErrorCode.REQUEST_TIMED_OUT
        elif not self.partition.had_enough_replicas:
            self.reply.error_code = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND


class ProduceHandler(Value):
    replicas: Replicas
    now_ms: Callable[[], int]
    verifier: TransactionVerifier

    async def __call__(self, ctx: RequestContext, request: ProduceRequest) -> ProduceResponse | None:
        _check_transactional_id(request)
        confirmed = NOTHING_TO_CONFIRM
        if request.transactional_id is not None:
            confirmed = await confirm(
                self.verifier,
                self.replicas,
                ctx,
                request.transactional_id,
                (
                    (TopicPartition(name, data.index), data.records)
                    for topic, partitions in _asked(request)
                    if (name := _topic_name(ctx, topic)) is not None
                    for data in partitions
                ),
            )
        topics = []
        outcomes = []
        pace = Pace()
        for topic, partitions in _asked(request):
            name = _topic_name(ctx, topic)
            appended = []
            for data in partitions:
                if pace.is_over:
                    await pace.rest()
                appended.append(await self._append(ctx, request, name, data, confirmed))
            outcomes.extend(appended)
            topics.append(
                ProduceResponse.TopicProduceResponse(
                    name=topic.name,
                    topic_id=topic.topic_id,
                    partition_responses=[outcome.reply for outcome in appended],
                )
            )
        if request.acks == ACKS_ALL:
            await _wait_for_commit(outcomes, request.timeout_ms)
        if request.acks == ACKS_NONE:
            _close_on_error(ctx, outcomes)
            return None
        return ProduceResponse(responses=topics, node_endpoints=_leader_hints(ctx, outcomes))

    async def _append(
        self,
        ctx: RequestContext,
        request: ProduceRequest,
        topic: str | None,
        data: ProduceRequest.PartitionProduceData,
        confirmed: Confirmed,
    ) -> _Outcome:
        tp = TopicPartition(topic or "", data.index)
        reply = ProduceResponse.PartitionProduceResponse(index=data.index, base_offset=UNKNOWN_OFFSET)
        outcome = _Outcome(reply, tp)
        if (refusal := confirmed.refusals.get(tp)) is not None:
            # The log was not asked: nothing is told of it.
            _refuse(reply, refusal)
            return outcome
        try:
            if topic is None:
                raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
            partition = self._partition(ctx, request.acks, tp)
            records, policy = _records(data), partition.settings.validation
            if is_long(records, policy):
                batch = await trio.to_thread.run_sync(self._check, records, policy, ctx.api_version)
            else:
                batch = self._check(records, policy, ctx.api_version)
            info = _append_as_leader(partition, batch, request.acks, confirmed.guards.get(tp))
            outcome.leadership = partition.leadership
            if partition.log.flush_is_due:
                await flush(partition.log)
        except NothingToAppend:
            reply.log_start_offset = UNKNOWN_OFFSET
        except InvalidRecords as error:
            _refuse_records(reply, error)
            if not isinstance(error, UnfitForRequest):
                self._add_log_start(outcome)
        except StorageError as error:
            _refuse(reply, api_error(error))
            self._add_log_start(outcome)
        except ApiError as error:
            _refuse(reply, error)
            self._add_log_start(outcome)
        else:
            reply.base_offset = info.first_offset
            reply.log_append_time_ms = info.log_append_time_ms
            reply.log_start_offset = info.log_start_offset
            outcome.partition = partition
            outcome.end_offset = info.last_offset + 1
        return outcome

    def _partition(self, ctx: RequestContext, acks: int, tp: TopicPartition) -> Partition:
        if ctx.image.partition(tp) is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if acks not in (ACKS_NONE, ACKS_LEADER, ACKS_ALL):
            raise ApiError(ErrorCode.INVALID_REQUIRED_ACKS)
        if is_internal(tp.topic) and ctx.client_id != ADMIN_CLIENT_ID:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Cannot append to internal topic {tp.topic}")
        return self.replicas.leader(ctx.image, tp)

    def _add_log_start(self, outcome: _Outcome) -> None:
        """Tell where the log starts, when it is the log that refused."""
        partition = self.replicas.find(outcome.tp)
        if partition is not None and outcome.reply.error_code not in _SAY_NOTHING_OF_THE_LOG:
            outcome.reply.log_start_offset = partition.log.log_start_offset

    def _check(self, records: memoryview, policy: ValidationPolicy, version: int) -> ValidatedBatch:
        return validate_produce(records, policy, self.now_ms(), produce_version=version)


def _records(data: ProduceRequest.PartitionProduceData) -> memoryview:
    """Raises:
    UnfitForRequest: there are none.
    """
    if data.records is None:
        raise UnfitForRequest(
            ErrorCode.INVALID_RECORD, "A Produce request must have records for each partition"
        )
    return data.records


def _asked(
    request: ProduceRequest,
) -> Iterable[tuple[ProduceRequest.TopicProduceData, Collection[ProduceRequest.PartitionProduceData]]]:
    """What to append, by topic. Of a partition that is named twice the last one counts, as in Kafka's maps,
    and a topic without partitions is not answered."""
    if len(request.topic_data) == 1 and len(request.topic_data[0].partition_data) == 1:  # by far the most
        return [(request.topic_data[0], request.topic_data[0].partition_data)]
    topics: dict[tuple[str, TopicId], ProduceRequest.TopicProduceData] = {}
    partitions: dict[tuple[str, TopicId], dict[int, ProduceRequest.PartitionProduceData]] = {}
    for topic in request.topic_data:
        key = (topic.name, topic.topic_id)
        for data in topic.partition_data:
            topics.setdefault(key, topic)
            partitions.setdefault(key, {})[data.index] = data
    return ((topic, partitions[key].values()) for key, topic in topics.items())


def _check_transactional_id(request: ProduceRequest) -> None:
    """Raises:
    ApiError: TRANSACTIONAL_ID_AUTHORIZATION_FAILED for transactional records of nobody's transaction.
    """
    if request.transactional_id is not None:
        return
    for topic in request.topic_data:
        for data in topic.partition_data:
            if data.records is not None and is_transactional(data.records):
                raise ApiError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)


def _append_as_leader(
    partition: Partition, batch: ValidatedBatch, acks: int, guard: object | None
) -> AppendInfo:
    """Append, after a last look at leadership: validation may have waited for a thread."""
    if not partition.is_leader:
        raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    if acks == ACKS_ALL:
        partition.check_enough_replicas()
    return partition.append(batch, guard=guard)


def _topic_name(ctx: RequestContext, topic: ProduceRequest.TopicProduceData) -> str | None:
    if ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS:
        return ctx.image.topic_names_by_id.get(topic.topic_id)
    return topic.name


def _refuse(reply: ProduceResponse.PartitionProduceResponse, error: ApiError) -> None:
    reply.error_code = error.code
    reply.error_message = error.message


def _refuse_records(reply: ProduceResponse.PartitionProduceResponse, error: InvalidRecords) -> None:
    reply.error_code = error.code
    reply.error_message = error.message
    reply.record_errors = [
        ProduceResponse.BatchIndexAndErrorMessage(batch_index=index, batch_index_error_message=why)
        for index, why in error.record_errors
    ]


async def _wait_for_commit(outcomes: list[_Outcome], timeout_ms: int) -> None:
    pending = [outcome for outcome in outcomes if not outcome.is_committed]
    if pending:
        partitions = [outcome.partition for outcome in pending if outcome.partition is not None]
        with (
            waiting_on(partition.waiters for partition in partitions) as waiter,
            trio.move_on_after(max(0, timeout_ms) / 1000),
        ):
            while not all(outcome.is_committed for outcome in pending):
                await waiter.sleep()
    for outcome in outcomes:
        outcome.settle()


def _close_on_error(ctx: RequestContext, outcomes: Iterable[_Outcome]) -> None:
    failed = [
        f"{outcome.tp} {ErrorCode(outcome.reply.error_code).name}"
        for outcome in outcomes
        if outcome.has_failed
    ]
    if failed:
        raise CloseConnection(
            f"Produce with acks=0 from client {ctx.client_id!r} failed: {', '.join(failed)}"
        )


def _leader_hints(ctx: RequestContext, outcomes: Iterable[_Outcome]) -> list[ProduceResponse.NodeEndpoint]:
    """Tell those who came to the wrong broker where the leader is; returns the nodes so named."""
    if ctx.api_version < FIRST_VERSION_WITH_LEADER_HINTS:
        return []
    nodes = {}
    for outcome in outcomes:
        if outcome.reply.error_code != ErrorCode.NOT_LEADER_OR_FOLLOWER:
            continue
        hint = current_leader(ctx.image, outcome.tp, ctx.listener)
        outcome.reply.current_leader = ProduceResponse.LeaderIdAndEpoch(
            leader_id=hint.leader_id, leader_epoch=hint.leader_epoch
        )
        if hint.node is not None:
            broker, endpoint = hint.node
            nodes[broker.broker_id] = ProduceResponse.NodeEndpoint(
                node_id=broker.broker_id, host=endpoint.host, port=endpoint.port, rack=broker.rack
            )
    return list(nodes.values())
