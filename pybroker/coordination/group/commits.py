"""Committing, fetching and forgetting offsets."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from pybroker.coordination.effects import CoordinatorRecord, Effects, Outcome, Token
from pybroker.coordination.group.calls import (
    UNKNOWN_MEMBER,
    CommitCall,
    CommitReply,
    FetchCall,
    FetchedOffset,
)
from pybroker.coordination.group.errors import commit_error
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.offsets import CommittedOffset, GroupOffsets, commit_of, commit_time
from pybroker.coordination.group.records import group_key, offset_key, offset_records
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import COMMIT_ANSWERS, DEAD, DELETE_ANSWERS, EMPTY, STABLE
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import TopicPartition
from pybroker.model.values import Value

logger = logging.getLogger(__name__)


# -- committing --------------------------------------------------------------------------------------


def commit(group: ClassicGroup, call: CommitCall, token: Token, rules: GroupRules, effects: Effects) -> None:
    """Store a commit if it may be stored; the answer comes when it is committed to the log."""
    refused = _refusal(group, call)
    if refused is ErrorCode.NONE:
        refused = COMMIT_ANSWERS[group.state]
        member = group.members.get(call.member_id)
        if refused is ErrorCode.NONE and member is not None:
            group.renew_session(member, effects)
    if refused is not ErrorCode.NONE:
        effects.reply(token, dict.fromkeys(call.offsets, refused))
        return
    store(group.offsets, call, token, rules, effects)


def store(offsets: GroupOffsets, call: CommitCall, token: Token, rules: GroupRules, effects: Effects) -> None:
    """Store a commit. Texts that are too long are refused one by one, the others are stored."""
    storable = storable_offsets(call, rules)
    if not storable:
        effects.reply(token, dict.fromkeys(call.offsets, ErrorCode.OFFSET_METADATA_TOO_LARGE))
        return
    offsets.prepare(storable)
    records = offset_records(call.group_id, storable)
    effects.append(records, OffsetsStored(offsets, token, call.offsets, storable))


def _refusal(group: ClassicGroup, call: CommitCall) -> ErrorCode:
    """Members commit in their generation; others only while the group has no members."""
    is_outsider = call.generation < 0
    if is_outsider and group.state is EMPTY:
        return ErrorCode.NONE
    if is_outsider and call.member_id == UNKNOWN_MEMBER and call.instance_id is None:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE if group.state is DEAD else ErrorCode.UNKNOWN_MEMBER_ID
    refused = group.refuse_member(call.member_id, call.instance_id)
    if refused is not ErrorCode.NONE:
        return refused
    return ErrorCode.NONE if call.generation == group.generation else ErrorCode.ILLEGAL_GENERATION


def storable_offsets(call: CommitCall, rules: GroupRules) -> Mapping[TopicPartition, CommittedOffset]:
    """All commits but those whose text is longer than ``offset.metadata.max.bytes``."""
    limit = rules.max_metadata_length
    too_long = {tp for tp, one in call.offsets.items() if one.metadata and _length(one.metadata) > limit}
    if not too_long:
        return call.offsets
    return {tp: one for tp, one in call.offsets.items() if tp not in too_long}


def _length(text: str) -> int:
    """In UTF-16 code units, as Java counts."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def commit_reply(
    asked: Collection[TopicPartition], stored: Collection[TopicPartition], error: ErrorCode
) -> CommitReply:
    """What became of a commit of which only ``stored`` was storable."""
    reply = dict.fromkeys(asked, error)
    if len(stored) != len(asked):
        reply.update({tp: ErrorCode.OFFSET_METADATA_TOO_LARGE for tp in asked if tp not in stored})
    return reply


class OffsetsStored(Value):
    """The offsets are in the log, or will never be."""

    offsets: GroupOffsets
    token: Token
    asked: Collection[TopicPartition]
    storable: Mapping[TopicPartition, CommittedOffset]

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        if outcome.error is ErrorCode.NONE:
            self.offsets.apply(self.storable, outcome.base_offset)
        else:
            self.offsets.fail(self.storable)
        effects.reply(self.token, commit_reply(self.asked, self.storable, commit_error(outcome.error)))


# -- fetching ----------------------------------------------------------------------------------------


def fetch(offsets: GroupOffsets | None, call: FetchCall) -> dict[TopicPartition, FetchedOffset]:
    """The committed offsets that a call asks for; without ``offsets`` there are none."""
    partitions = call.partitions
    if offsets is None:
        return {tp: FetchedOffset() for tp in partitions or ()}
    found: dict[TopicPartition, FetchedOffset] = {}
    for tp in offsets.stored if partitions is None else partitions:
        stored = offsets.stored.get(tp)
        if call.require_stable and offsets.is_unstable(tp):
            found[tp] = FetchedOffset(error=ErrorCode.UNSTABLE_OFFSET_COMMIT)
        elif stored is None:
            found[tp] = FetchedOffset()
        else:
            kept = commit_of(stored)
            found[tp] = FetchedOffset(kept.offset, kept.leader_epoch, kept.metadata)
    return found


# -- forgetting --------------------------------------------------------------------------------------


def expire(group: ClassicGroup, rules: GroupRules, effects: Effects) -> int:
    """Forget offsets that nobody uses any more; returns how many.

    A group with a protocol keeps them from the moment it became empty; while it has members, what they do
    not read expires after the last commit; offsets of a group that never had members after the last commit.
    """
    now_ms, retention_ms, offsets = effects.now_ms, rules.offsets_retention_ms, group.offsets
    since_ms = group.state_since_ms
    expired: list[TopicPartition] = []
    if group.protocol_type is None:
        expired = offsets.remove_expired(now_ms, retention_ms, commit_time)
    elif group.state is EMPTY:
        base_ms = commit_time if since_ms is None else lambda _commit: since_ms
        expired = offsets.remove_expired(now_ms, retention_ms, base_ms)
    elif group.state is STABLE and group.is_consumer_group and group.subscribed_topics is not None:
        expired = offsets.remove_expired(now_ms, retention_ms, commit_time, group.subscribed_topics)
    forget(group, expired, effects)
    return len(expired)


def forget(group: ClassicGroup, removed: Iterable[TopicPartition], effects: Effects) -> None:
    """Write tombstones for removed offsets, and for the group itself when nothing of it is left.

    Nobody waits for them: if they are lost, the next round writes them again.
    """
    records: list[CoordinatorRecord] = [(offset_key(group.group_id, tp), None) for tp in removed]
    if group.state is EMPTY and not group.offsets:
        group.die(effects)
        if group.generation > 0:
            # Without a generation the log has no record of the group itself.
            records.append((group_key(group.group_id), None))
    if records:
        effects.append(records)


def delete_group(group: ClassicGroup, effects: Effects) -> ErrorCode:
    """Forget an empty group with all its offsets."""
    error = DELETE_ANSWERS[group.state]
    if error is ErrorCode.NONE:
        forget(group, group.offsets.remove_all(), effects)
    return error


def delete_offsets(
    group: ClassicGroup, partitions: Sequence[TopicPartition], effects: Effects
) -> tuple[ErrorCode, dict[TopicPartition, ErrorCode]]:
    """Forget the offsets of partitions that no member reads: an error for the whole group, or one each."""
    if group.state is not EMPTY and not group.is_consumer_group:
        return ErrorCode.NON_EMPTY_GROUP, {}
    in_use = {tp for tp in partitions if group.state is not EMPTY and group.is_subscribed_to(tp.topic)}
    eligible = [tp for tp in partitions if tp not in in_use]
    if eligible:
        forget(group, group.offsets.remove(eligible), effects)
    return ErrorCode.NONE, {
        tp: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if tp in in_use else ErrorCode.NONE for tp in partitions
    }
