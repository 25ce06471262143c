"""LeaveGroup: members that go by themselves, and those that an administrator removes."""

from pybroker.coordination.effects import Effects
from pybroker.coordination.group.calls import UNKNOWN_MEMBER, LeavingMember
from pybroker.coordination.group.group import ClassicGroup
from pybroker.coordination.group.rebalance import remove_member, remove_pending
from pybroker.coordination.group.rules import GroupRules
from pybroker.model.errors import ErrorCode


def leave(group: ClassicGroup, leaving: LeavingMember, rules: GroupRules, effects: Effects) -> ErrorCode:
    """Remove one member, by its id, or by its instance id alone (KIP-345)."""
    member_id = leaving.member_id
    if member_id == UNKNOWN_MEMBER:
        current = None if leaving.instance_id is None else group.static_members.get(leaving.instance_id)
        if current is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        member_id = current
    elif member_id in group.pending_members:
        remove_pending(group, member_id, effects)
        return ErrorCode.NONE
    else:
        refused = group.refuse_member(member_id, leaving.instance_id)
        if refused is not ErrorCode.NONE:
            return refused
    reason = f"{member_id} leaves; client reason: {leaving.reason or 'not provided'}"
    remove_member(group, group.members[member_id], rules, effects, reason)
    return ErrorCode.NONE
