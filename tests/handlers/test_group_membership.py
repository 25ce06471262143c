"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup on the wire: every version, and what each one changed."""

from typing import Any

import pytest

from pybroker.model.errors import ApiError, ErrorCode
from pybroker.protocol.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from tests.handlers.group_bench import GroupBench


def join_request(member_id: str = "", **fields: Any) -> JoinGroupRequest:
    values: dict[str, Any] = {
        "group_id": "g",
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 60_000,
        "protocol_type": "consumer",
        "protocols": [JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"what I read")],
    }
    return JoinGroupRequest(member_id=member_id, **{**values, **fields})


async def join(bench: GroupBench, version: int, **fields: Any) -> JoinGroupResponse:
    """Joins for good, going back for an id when asked to."""
    request = join_request(**fields)
    if version == 0:
        request.rebalance_timeout_ms = -1
    response: JoinGroupResponse = await bench.ask_and_advance(11, version, request)
    if response.error_code == ErrorCode.MEMBER_ID_REQUIRED:
        request.member_id = response.member_id
        response = await bench.ask_and_advance(11, version, request)
    return response


def sync_request(joined: JoinGroupResponse, version: int, **fields: Any) -> SyncGroupRequest:
    given = [
        SyncGroupRequest.SyncGroupRequestAssignment(member_id=one.member_id, assignment=b"yours")
        for one in joined.members
    ]
    protocol = {"protocol_type": "consumer", "protocol_name": "range"} if version >= 5 else {}
    values = {"group_id": "g", "generation_id": joined.generation_id, "member_id": joined.member_id}
    return SyncGroupRequest(**{**values, **protocol, "assignments": given, **fields})


async def stable(bench: GroupBench, version: int = 5, **fields: Any) -> str:
    joined = await join(bench, version, **fields)
    response: SyncGroupResponse = await bench.ask(14, 5, sync_request(joined, 5))
    assert response.error_code == 0
    return joined.member_id


@pytest.mark.parametrize("version", range(10))
async def test_join(group_bench: GroupBench, version: int) -> None:
    response = await join(group_bench, version)
    assert response == JoinGroupResponse(
        generation_id=1,
        protocol_type="consumer" if version >= 7 else None,
        protocol_name="range",
        leader=response.member_id,
        member_id=response.member_id,
        members=[
            JoinGroupResponse.JoinGroupResponseMember(member_id=response.member_id, metadata=b"what I read")
        ],
    )
    assert response.member_id == "app-id1"


@pytest.mark.parametrize("version", range(10))
async def test_a_refused_join_names_no_protocol(group_bench: GroupBench, version: int) -> None:
    request = join_request("ghost", rebalance_timeout_ms=-1 if version == 0 else 1)
    response = await group_bench.ask(11, version, request)
    assert response == JoinGroupResponse(
        error_code=ErrorCode.UNKNOWN_MEMBER_ID,
        member_id="ghost",
        protocol_name=None if version >= 7 else "",
    )


async def test_version_0_has_one_timeout_for_both(group_bench: GroupBench) -> None:
    joined = await join(group_bench, 0)
    await group_bench.ask(14, 0, sync_request(joined, 0))
    (member,) = group_bench.member_records()
    assert (member.session_timeout, member.rebalance_timeout) == (10_000, 10_000)


async def test_an_empty_group_id_is_refused(group_bench: GroupBench) -> None:
    response = await group_bench.ask(11, 9, join_request(group_id=""))
    assert response.error_code == ErrorCode.INVALID_GROUP_ID


@pytest.mark.parametrize("version", range(6))
async def test_sync(group_bench: GroupBench, version: int) -> None:
    joined = await join(group_bench, 9)
    response = await group_bench.ask(14, version, sync_request(joined, version))
    protocol: dict[str, Any] = {"protocol_type": "consumer", "protocol_name": "range"} if version >= 5 else {}
    assert response == SyncGroupResponse(assignment=b"yours", **protocol)


@pytest.mark.parametrize("missing", ["protocol_type", "protocol_name"])
async def test_sync_must_name_the_protocol_from_version_5_on(group_bench: GroupBench, missing: str) -> None:
    joined = await join(group_bench, 9)
    response = await group_bench.ask(14, 5, sync_request(joined, 5, **{missing: None}))
    assert response.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


@pytest.mark.parametrize("version", range(5))
async def test_heartbeat(group_bench: GroupBench, version: int) -> None:
    member = await stable(group_bench)
    request = HeartbeatRequest(group_id="g", generation_id=1, member_id=member)
    assert await group_bench.ask(12, version, request) == HeartbeatResponse()
    request.generation_id = 2
    response = await group_bench.ask(12, version, request)
    assert response.error_code == ErrorCode.ILLEGAL_GENERATION


async def test_a_refused_heartbeat_raises_what_dispatch_answers(group_bench: GroupBench) -> None:
    with pytest.raises(ApiError) as raised:
        await group_bench.ask(12, 4, HeartbeatRequest(group_id="", generation_id=1, member_id="m"))
    assert raised.value.code is ErrorCode.INVALID_GROUP_ID


@pytest.mark.parametrize("version", range(3))
async def test_old_versions_let_one_member_leave(group_bench: GroupBench, version: int) -> None:
    member = await stable(group_bench)
    request = LeaveGroupRequest(group_id="g", member_id=member)
    assert await group_bench.ask(13, version, request) == LeaveGroupResponse()
    response = await group_bench.ask(13, version, request)
    assert response == LeaveGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID)


@pytest.mark.parametrize("version", range(3, 6))
async def test_new_versions_let_several_members_leave(group_bench: GroupBench, version: int) -> None:
    await stable(group_bench, group_instance_id="i1")
    request = LeaveGroupRequest(
        group_id="g",
        members=[
            LeaveGroupRequest.MemberIdentity(member_id="", group_instance_id="i1"),
            LeaveGroupRequest.MemberIdentity(member_id="ghost"),
        ],
    )
    response = await group_bench.ask(13, version, request)
    assert response == LeaveGroupResponse(
        members=[
            LeaveGroupResponse.MemberResponse(member_id="", group_instance_id="i1", error_code=0),
            LeaveGroupResponse.MemberResponse(
                member_id="ghost", group_instance_id=None, error_code=ErrorCode.UNKNOWN_MEMBER_ID
            ),
        ]
    )
