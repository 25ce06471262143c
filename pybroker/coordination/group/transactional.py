"""Offsets that are committed as part of a transaction: kept aside until its marker says that they count."""

from collections.abc import Collection, Mapping

from pybroker.coordination.effects import Effects, Outcome, Token, Writer
from pybroker.coordination.group.calls import UNKNOWN_MEMBER, CommitCall
from pybroker.coordination.group.commits import commit_reply, storable_offsets
from pybroker.coordination.group.errors import commit_error
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.offsets import CommittedOffset, GroupOffsets
from pybroker.coordination.group.records import offset_records
from pybroker.coordination.group.rules import GroupRules
from pybroker.coordination.group.states import DEAD, EMPTY
from pybroker.model.errors import ErrorCode
from pybroker.model.ids import ProducerId, TopicPartition
from pybroker.model.values import Value


def commit(
    group: ClassicGroup, call: CommitCall, writer: Writer, token: Token, rules: GroupRules, effects: Effects
) -> None:
    """Store what may be stored in the name of ``writer``; the answer comes when it is in the log.

    The state of the group does not matter, only who commits: a rebalance is no reason to abort a transaction.
    """
    refused = _refusal(group, call)
    if refused is not ErrorCode.NONE:
        effects.reply(token, dict.fromkeys(call.offsets, refused))
        return
    stage(group.offsets, call, writer, token, rules, effects)


def stage(
    offsets: GroupOffsets, call: CommitCall, writer: Writer, token: Token, rules: GroupRules, effects: Effects
) -> None:
    """Keep a commit aside until the end of the transaction."""
    storable = storable_offsets(call, rules)
    if not storable:
        effects.reply(token, dict.fromkeys(call.offsets, ErrorCode.OFFSET_METADATA_TOO_LARGE))
        return
    offsets.prepare_transactional(writer.producer_id, storable)
    records = offset_records(call.group_id, storable)
    staged = OffsetsStaged(offsets, token, call.offsets, writer.producer_id, storable)
    effects.append(records, staged, writer)


def _refusal(group: ClassicGroup, call: CommitCall) -> ErrorCode:
    """Whoever names a member or a generation must be that member (KIP-447); clients before that name none."""
    if group.state is DEAD:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    is_outsider = call.generation < 0
    names_nobody = is_outsider and call.member_id == UNKNOWN_MEMBER and call.instance_id is None
    if names_nobody or (is_outsider and group.state is EMPTY):
        return ErrorCode.NONE
    refused = group.refuse_member(call.member_id, call.instance_id)
    if refused is not ErrorCode.NONE:
        return refused
    return ErrorCode.NONE if call.generation == group.generation else ErrorCode.ILLEGAL_GENERATION


class OffsetsStaged(Value):
    """The offsets are in the log, or will never be."""

    offsets: GroupOffsets
    token: Token
    asked: Collection[TopicPartition]
    producer_id: ProducerId
    storable: Mapping[TopicPartition, CommittedOffset]

    def settle(self, outcome: Outcome, effects: Effects) -> None:
        offsets = self.offsets
        if outcome.error is ErrorCode.NONE:
            offsets.stage_transactional(self.producer_id, self.storable, outcome.base_offset)
        else:
            offsets.fail_transactional(self.producer_id, self.storable)
        effects.reply(self.token, commit_reply(self.asked, self.storable, commit_error(outcome.error)))
