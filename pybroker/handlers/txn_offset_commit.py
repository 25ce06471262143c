"""TxnOffsetCommit (key 28), versions 0 to 6: positions that count when a transaction commits.

- Each partition has its own answer; topics that do not exist do not hinder the others.
- Answered when the offsets are in the coordinator's log. They are unstable (OffsetFetch v7) until the marker.

Versions: 2 leader epochs; 3 member and generation are checked (KIP-447); 4 TRANSACTION_ABORTABLE (KIP-890);
5 adds the group to the transaction by itself; 6 topic ids (KIP-1319).
"""

from collections.abc import Callable

from pybroker.coordination.effects import Writer
from pybroker.coordination.group.calls import CommitCall, CommitReply
from pybroker.coordination.group.errors import commit_error
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.coordination.runtime.verification import Support, TransactionVerifier
from pybroker.coordination.transaction.calls import Producer
from pybroker.handlers.commit_replies import CommitReplies
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import TxnOffsetCommitRequest, TxnOffsetCommitResponse

FIRST_VERSION_WITH_LOADING = 2
FIRST_VERSION_WITH_ABORTABLE = 4
FIRST_VERSION_THAT_ADDS = 5
FIRST_VERSION_WITH_TOPIC_IDS = 6


class TxnOffsetCommitHandler(Value):
    groups: GroupCoordinator
    verifier: TransactionVerifier
    now_ms: Callable[[], int]

    async def __call__(self, ctx: RequestContext, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse:
        replies = CommitReplies(
            TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic,
            TxnOffsetCommitResponse.TxnOffsetCommitResponsePartition,
        )
        now_ms = self.now_ms()
        by_id = ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS
        commits = {
            tp: CommittedOffset(
                asked.committed_offset, asked.committed_leader_epoch, asked.committed_metadata or "", now_ms
            )
            for tp, asked in replies.existing(ctx.image, request.topics, by_id=by_id)
        }
        if commits:
            try:
                codes = await self._keep(ctx, request, commits)
            except ApiError as error:
                codes = dict.fromkeys(commits, error.code)
            replies.add({tp: _in_words_of(ctx, code) for tp, code in codes.items()})
        return TxnOffsetCommitResponse(topics=replies.topics())

    async def _keep(
        self,
        ctx: RequestContext,
        request: TxnOffsetCommitRequest,
        commits: dict[TopicPartition, CommittedOffset],
    ) -> CommitReply:
        producer = Producer(request.producer_id, request.producer_epoch)
        if producer.producer_id < 0 or producer.producer_epoch < 0:
            raise ApiError(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        support = _support(ctx)
        guard = None
        if self.verifier.concerns(support):
            verified = await self.verifier.confirm(
                request.transactional_id,
                producer,
                lambda: self.groups.start_transaction(request.group_id, *producer),
                support,
            )
            for tp, code in verified.codes.items():
                if code is not ErrorCode.NONE:
                    raise ApiError(commit_error(code))
                guard = verified.guards[tp]
        call = CommitCall(
            request.group_id,
            commits,
            request.generation_id_or_member_epoch,
            request.member_id,
            request.group_instance_id,
            Writer(*producer, guard),
        )
        return await self.groups.commit(call)


def _support(ctx: RequestContext) -> Support:
    if ctx.api_version >= FIRST_VERSION_THAT_ADDS:
        return Support.ADDS
    return Support.ABORTABLE if ctx.api_version >= FIRST_VERSION_WITH_ABORTABLE else Support.OLD_ERRORS


def _in_words_of(ctx: RequestContext, code: ErrorCode) -> ErrorCode:
    """Producers before Kafka 2.0 do not expect that a coordinator loads (KAFKA-7296)."""
    if code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS and ctx.api_version < FIRST_VERSION_WITH_LOADING:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    return code
