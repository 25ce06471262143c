"""OffsetCommit (key 8), versions 0 to 10: a member of a group, or somebody without one, keeps positions.

- Each partition has its own answer; topics that do not exist do not hinder the others.
- Answered when the offsets are committed to the coordinator's log.

Versions: 0 keeps offsets in the metadata store, as ZooKeeper did, and knows no groups; 1 members, generations
and a timestamp for each partition; 2 to 4 a retention time, after which the offset goes whatever the group
does; 6 leader epochs (KIP-320); 7 static members (KIP-345); 10 topic ids.
"""

from collections.abc import Callable

from pybroker.coordination.group.calls import CommitCall, CommitReply
from pybroker.coordination.group.offsets import CommittedOffset
from pybroker.coordination.old_offsets import OldOffsets
from pybroker.coordination.runtime.groups import GroupCoordinator
from pybroker.handlers.commit_replies import CommitReplies
from pybroker.handlers.context import RequestContext
from pybroker.model.errors import ApiError, ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value
from pybroker.protocol.messages import OffsetCommitRequest, OffsetCommitResponse

FIRST_VERSION_WITH_GROUPS = 1
FIRST_VERSION_WITH_MEMBER_EPOCHS = 9
FIRST_VERSION_WITH_TOPIC_IDS = 10
NO_RETENTION_TIME = -1
NO_TIMESTAMP = -1
LATEST_TIMESTAMP_MS = (1 << 63) - 1


class OffsetCommitHandler(Value):
    """``max_metadata_length`` is that of ``offset.metadata.max.bytes``, for version 0."""

    groups: GroupCoordinator
    old_offsets: OldOffsets
    max_metadata_length: int
    now_ms: Callable[[], int]

    async def __call__(self, ctx: RequestContext, request: OffsetCommitRequest) -> OffsetCommitResponse:
        replies = CommitReplies(
            OffsetCommitResponse.OffsetCommitResponseTopic, OffsetCommitResponse.OffsetCommitResponsePartition
        )
        now_ms = self.now_ms()
        expiry_ms = _expiry(request, now_ms)
        by_id = ctx.api_version >= FIRST_VERSION_WITH_TOPIC_IDS
        commits = {
            tp: _commit(asked, now_ms, expiry_ms)
            for tp, asked in replies.existing(ctx.image, request.topics, by_id=by_id)
        }
        if commits:
            replies.add(await self._keep(ctx, request, commits))
        return OffsetCommitResponse(topics=replies.topics())

    async def _keep(
        self,
        ctx: RequestContext,
        request: OffsetCommitRequest,
        commits: dict[TopicPartition, CommittedOffset],
    ) -> CommitReply:
        if ctx.api_version < FIRST_VERSION_WITH_GROUPS:
            return {tp: await self._keep_old(request.group_id, tp, one) for tp, one in commits.items()}
        call = CommitCall(
            request.group_id,
            commits,
            request.generation_id_or_member_epoch,
            request.member_id,
            request.group_instance_id,
            knows_member_epochs=ctx.api_version >= FIRST_VERSION_WITH_MEMBER_EPOCHS,
        )
        try:
            return await self.groups.commit(call)
        except ApiError as error:
            return dict.fromkeys(commits, error.code)

    async def _keep_old(self, group_id: str, tp: TopicPartition, commit: CommittedOffset) -> ErrorCode:
        if len(commit.metadata) > self.max_metadata_length:
            return ErrorCode.OFFSET_METADATA_TOO_LARGE
        try:
            await self.old_offsets.put(group_id, tp, commit.offset)
        except ApiError as error:
            return error.code
        return ErrorCode.NONE


def _expiry(request: OffsetCommitRequest, now_ms: int) -> int | None:
    if request.retention_time_ms == NO_RETENTION_TIME:
        return None
    return min(now_ms + request.retention_time_ms, LATEST_TIMESTAMP_MS)


def _commit(
    asked: OffsetCommitRequest.OffsetCommitRequestPartition, now_ms: int, expiry_ms: int | None
) -> CommittedOffset:
    timestamp = asked.commit_timestamp
    return CommittedOffset(
        asked.committed_offset,
        asked.committed_leader_epoch,
        asked.committed_metadata or "",
        now_ms if timestamp == NO_TIMESTAMP else timestamp,
        expiry_ms,
    )
