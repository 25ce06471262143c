"""DescribeGroups, ListGroups and DeleteGroups on the wire."""

import pytest

from pybroker.model.errors import ErrorCode
from pybroker.protocol.messages import (
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from tests.handlers.group_bench import GroupBench
from tests.handlers.test_group_membership import stable
from tests.handlers.test_group_offsets import commit

READ_DESCRIBE_DELETE = 1 << 3 | 1 << 8 | 1 << 6
NOT_ASKED_FOR = -(1 << 31)


@pytest.mark.parametrize("version", range(7))
async def test_describe_a_stable_group(group_bench: GroupBench, version: int) -> None:
    member = await stable(group_bench, group_instance_id="i1")
    request = DescribeGroupsRequest(groups=["g"], include_authorized_operations=version >= 3)
    response = await group_bench.ask(15, version, request)
    assert response == DescribeGroupsResponse(
        groups=[
            DescribeGroupsResponse.DescribedGroup(
                group_id="g",
                group_state="Stable",
                protocol_type="consumer",
                protocol_data="range",
                members=[
                    DescribeGroupsResponse.DescribedGroupMember(
                        member_id=member,
                        group_instance_id="i1" if version >= 4 else None,
                        client_id="app",
                        client_host="/10.0.0.7",
                        member_metadata=b"what I read",
                        member_assignment=b"yours",
                    )
                ],
                authorized_operations=READ_DESCRIBE_DELETE if version >= 3 else NOT_ASKED_FOR,
            )
        ]
    )


@pytest.mark.parametrize("version", range(7))
async def test_describe_what_does_not_exist(group_bench: GroupBench, version: int) -> None:
    response = await group_bench.ask(15, version, DescribeGroupsRequest(groups=["ghost"]))
    group = response.groups[0]
    assert group.group_state == "Dead"
    if version < 6:
        assert group.error_code == ErrorCode.NONE
    else:
        assert (group.error_code, group.error_message) == (
            ErrorCode.GROUP_ID_NOT_FOUND,
            "Group ghost not found.",
        )


async def test_operations_are_told_only_on_request(group_bench: GroupBench) -> None:
    response = await group_bench.ask(15, 5, DescribeGroupsRequest(groups=["ghost"]))
    assert response.groups[0].authorized_operations == NOT_ASKED_FOR


async def test_a_group_that_is_not_stable_hides_subscriptions(group_bench: GroupBench) -> None:
    member = await stable(group_bench)
    group_bench.advance(10_000)
    response = await group_bench.ask(15, 5, DescribeGroupsRequest(groups=["g"]))
    group = response.groups[0]
    assert member
    assert (group.group_state, group.protocol_data, group.members) == ("Empty", "", [])
    assert group.protocol_type == "consumer"


@pytest.mark.parametrize("version", range(6))
async def test_list(group_bench: GroupBench, version: int) -> None:
    await stable(group_bench)
    response = await group_bench.ask(16, version, ListGroupsRequest())
    assert response == ListGroupsResponse(
        groups=[
            ListGroupsResponse.ListedGroup(
                group_id="g",
                protocol_type="consumer",
                group_state="Stable" if version >= 4 else "",
                group_type="classic" if version >= 5 else "",
            )
        ]
    )


@pytest.mark.parametrize(
    ("states", "types", "found"),
    [
        (["stable"], [], True),
        (["Empty", "STABLE"], [], True),
        (["Empty"], [], False),
        ([], ["Classic"], True),
        ([], ["consumer"], False),
        ([], ["nonsense"], False),
        (["Stable"], ["consumer"], False),
    ],
)
async def test_filters(group_bench: GroupBench, states: list[str], types: list[str], found: bool) -> None:
    await stable(group_bench)
    response = await group_bench.ask(16, 5, ListGroupsRequest(states_filter=states, types_filter=types))
    assert bool(response.groups) is found


@pytest.mark.parametrize("version", range(3))
async def test_delete(group_bench: GroupBench, version: int) -> None:
    await commit(group_bench)
    request = DeleteGroupsRequest(groups_names=["g", "ghost", "g"])
    response = await group_bench.ask(42, version, request)
    result = DeleteGroupsResponse.DeletableGroupResult
    assert response == DeleteGroupsResponse(
        results=[
            result(group_id="g"),
            result(group_id="ghost", error_code=ErrorCode.GROUP_ID_NOT_FOUND),
        ]
    )
    assert (await group_bench.ask(16, 5, ListGroupsRequest())).groups == []


async def test_a_group_with_members_is_not_deleted(group_bench: GroupBench) -> None:
    await stable(group_bench)
    response = await group_bench.ask(42, 2, DeleteGroupsRequest(groups_names=["g"]))
    assert response.results[0].error_code == ErrorCode.NON_EMPTY_GROUP
