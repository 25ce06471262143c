"""Fault rules: who is meant, what happens at which level, how often, and which rules are refused."""

from collections.abc import Iterable
from typing import Any

import pytest
import trio

from pybroker.instruments.faults import Action, FaultRule, Faults, InvalidFault
from pybroker.model.errors import CloseConnection, ErrorCode
from pybroker.protocol.messages import (
    FetchRequest,
    FetchResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    ProduceRequest,
    ProduceResponse,
)
from tests.instruments.asking import TOPIC_ID, Client

BROKERS = (0, 1)


def client(*rules: FaultRule, broker: int = 0, session: Iterable[Any] = (), **who: str) -> Client:
    faults = Faults()
    for rule in rules:
        faults.add(rule, BROKERS)
    return Client(faults.seam(broker, lambda _session_id: session), **who)


def produce(*parts: tuple[str, int], acks: int = -1) -> ProduceRequest:
    data = [
        ProduceRequest.TopicProduceData(
            name=topic, partition_data=[ProduceRequest.PartitionProduceData(index=index)]
        )
        for topic, index in parts
    ]
    return ProduceRequest(acks=acks, topic_data=data)


def produced(*parts: tuple[str, int]) -> ProduceResponse:
    responses = [
        ProduceResponse.TopicProduceResponse(
            name=topic, partition_responses=[ProduceResponse.PartitionProduceResponse(index=index)]
        )
        for topic, index in parts
    ]
    return ProduceResponse(responses=responses)


def codes(response: Any) -> dict[tuple[str, int], ErrorCode]:
    return {
        (topic.name, part.index): ErrorCode(part.error_code)
        for topic in response.responses
        for part in topic.partition_responses
    }


async def beat(asking: Client, group: str = "g") -> int:
    answer = await asking.ask(12, 4, HeartbeatRequest(group_id=group), HeartbeatResponse())
    return int(answer.error_code)


async def test_an_error_of_one_topic_leaves_the_rest_of_the_request_alone() -> None:
    asking = client(FaultRule(api=("Produce",), topic="ord*", error="NOT_ENOUGH_REPLICAS"))
    answer = await asking.ask(0, 9, produce(("orders", 0), ("other", 1)), produced(("other", 1)))
    assert codes(answer) == {("orders", 0): ErrorCode.NOT_ENOUGH_REPLICAS, ("other", 1): ErrorCode.NONE}
    (handled,) = asking.handled
    assert [topic.name for topic in handled.topic_data] == ["other"]


async def test_a_request_of_which_every_item_fails_is_not_executed() -> None:
    asking = client(FaultRule(partition=0, error="NOT_LEADER_OR_FOLLOWER"))
    answer = await asking.ask(0, 9, produce(("orders", 0)), None)
    assert codes(answer) == {("orders", 0): ErrorCode.NOT_LEADER_OR_FOLLOWER}
    assert asking.handled == []


async def test_after_means_that_the_request_is_executed_and_the_client_told_otherwise() -> None:
    rule = FaultRule(topic="orders", error="REQUEST_TIMED_OUT", after=True)
    asking = client(rule)
    answer = await asking.ask(0, 9, produce(("orders", 0)), produced(("orders", 0)))
    assert codes(answer) == {("orders", 0): ErrorCode.REQUEST_TIMED_OUT}
    (handled,) = asking.handled
    assert [topic.name for topic in handled.topic_data] == ["orders"]


async def test_an_error_without_acknowledgement_has_no_reply() -> None:
    asking = client(FaultRule(topic="orders", error="NOT_LEADER_OR_FOLLOWER"))
    assert await asking.ask(0, 9, produce(("orders", 0), acks=0), None) is None
    assert asking.handled == []


async def test_an_error_of_no_item_is_one_of_the_whole_request() -> None:
    asking = client(FaultRule(api=("heartbeat",), error="REBALANCE_IN_PROGRESS", times=None))
    assert await beat(asking) == ErrorCode.REBALANCE_IN_PROGRESS


async def test_groups_that_are_answered_one_by_one_fail_one_by_one() -> None:
    asking = client(FaultRule(group="bad", error="COORDINATOR_LOAD_IN_PROGRESS"))
    groups = [OffsetFetchRequest.OffsetFetchRequestGroup(group_id=name) for name in ("good", "bad")]
    good = OffsetFetchResponse(groups=[OffsetFetchResponse.OffsetFetchResponseGroup(group_id="good")])
    answer = await asking.ask(9, 8, OffsetFetchRequest(groups=groups), good)
    assert {group.group_id: group.error_code for group in answer.groups} == {"good": 0, "bad": 14}


async def test_a_fetch_of_a_session_fails_for_a_partition_that_it_does_not_name_again() -> None:
    asking = client(
        FaultRule(api=("Fetch",), topic="orders", partition=2, error="NOT_LEADER_OR_FOLLOWER"),
        session=[(TOPIC_ID, "", 1), (TOPIC_ID, "", 2)],
    )
    request = FetchRequest(session_id=7, session_epoch=3, max_wait_ms=500)
    answer = await asking.ask(1, 13, request, FetchResponse())
    (topic,) = answer.responses
    assert topic.topic_id == TOPIC_ID
    assert [(part.partition_index, part.error_code) for part in topic.partitions] == [(2, 6)]
    assert asking.handled[0].max_wait_ms == 0, "nobody waits for records when there is an error to tell"


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        (FaultRule(client_id="m?", error="UNKNOWN_SERVER_ERROR"), True),
        (FaultRule(client_id="you", error="UNKNOWN_SERVER_ERROR"), False),
        (FaultRule(connection="c-1", error="UNKNOWN_SERVER_ERROR"), True),
        (FaultRule(connection="c-2", error="UNKNOWN_SERVER_ERROR"), False),
        (FaultRule(broker=0, error="UNKNOWN_SERVER_ERROR"), True),
        (FaultRule(broker=1, error="UNKNOWN_SERVER_ERROR"), False),
        (FaultRule(group="g", error="UNKNOWN_SERVER_ERROR"), True),
        (FaultRule(group="h", error="UNKNOWN_SERVER_ERROR"), False),
        (FaultRule(api=("Fetch",), error="UNKNOWN_SERVER_ERROR"), False),
    ],
)
async def test_a_rule_is_for_those_whom_it_names(rule: FaultRule, struck: bool) -> None:
    assert (await beat(client(rule)) == ErrorCode.UNKNOWN_SERVER_ERROR) is struck


async def test_a_coordinator_key_is_a_group_or_a_transactional_id_by_its_type() -> None:
    asking = client(FaultRule(transactional_id="t", error="COORDINATOR_NOT_AVAILABLE", times=None))
    for key_type, code in ((0, 0), (1, 15)):
        request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=["t"])
        coordinator = FindCoordinatorResponse.Coordinator(key="t")
        answer = await asking.ask(10, 4, request, FindCoordinatorResponse(coordinators=[coordinator]))
        assert [found.error_code for found in answer.coordinators] == [code]


async def test_a_rule_strikes_as_often_as_it_says_from_the_call_that_it_says() -> None:
    asking = client(FaultRule(error="UNKNOWN_MEMBER_ID", on_call=2, times=2))
    assert [await beat(asking) for _ in range(5)] == [0, 25, 25, 0, 0]


async def test_a_probability_is_repeatable() -> None:
    rule = FaultRule(error="UNKNOWN_MEMBER_ID", probability=0.5, seed=3, times=None)
    runs = [[await beat(asking) for _ in range(40)] for asking in (client(rule), client(rule))]
    assert runs[0] == runs[1]
    assert set(runs[0]) == {0, 25}


@pytest.mark.parametrize(("after", "handled"), [(False, 0), (True, 1)])
async def test_a_connection_is_closed_before_or_after_the_request(after: bool, handled: int) -> None:
    asking = client(FaultRule(action=Action.CLOSE, after=after))
    with pytest.raises(CloseConnection, match="fault rule 1"):
        await beat(asking)
    assert len(asking.handled) == handled


@pytest.mark.parametrize(("action", "handled"), [(Action.IGNORE, 0), (Action.DROP_REPLY, 1)])
async def test_a_request_stays_unanswered_executed_or_not(action: Action, handled: int) -> None:
    asking = client(FaultRule(action=action))
    assert await asking.ask(12, 4, HeartbeatRequest(group_id="g"), HeartbeatResponse()) is None
    assert len(asking.handled) == handled


async def test_a_half_open_connection_never_answers(autojump_clock: trio.testing.MockClock) -> None:
    asking = client(FaultRule(action=Action.HALF_OPEN))
    with trio.move_on_after(3600) as scope:
        await beat(asking)
    assert scope.cancelled_caught
    assert asking.handled == []


async def test_delays_add_up_and_end_in_the_usual_answer(autojump_clock: trio.testing.MockClock) -> None:
    asking = client(FaultRule(delay_ms=1500), FaultRule(delay_ms=500))
    assert await beat(asking) == 0
    assert trio.current_time() == pytest.approx(2)


async def test_a_throttled_reply_says_so() -> None:
    asking = client(FaultRule(throttle_ms=250))
    answer = await asking.ask(12, 4, HeartbeatRequest(group_id="g"), HeartbeatResponse())
    assert answer.throttle_time_ms == 250


def test_rules_count_what_they_did_and_can_be_taken_back() -> None:
    faults = Faults()
    rule = faults.add(FaultRule(delay_ms=1), BROKERS)
    assert faults.rules() == (rule,)
    assert faults.remove(rule.number)
    assert not faults.remove(rule.number)
    assert faults.rules() == ()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (FaultRule(), "the rule does nothing"),
        (FaultRule(api=("Prodce",), delay_ms=1), "no API 'Prodce'; did you mean Produce"),
        (FaultRule(error="NOT_LEADER"), "no error 'NOT_LEADER'; did you mean NOT_LEADER_OR_FOLLOWER"),
        (FaultRule(error="NONE"), "NONE is no error"),
        (FaultRule(error="UNKNOWN_MEMBER_ID", action=Action.CLOSE), "choose one"),
        (FaultRule(broker=7, delay_ms=1), "no broker 7; there are 0, 1"),
        (FaultRule(delay_ms=-1), "delay_ms is -1"),
        (FaultRule(delay_ms=1, times=0), "times is 0"),
        (FaultRule(delay_ms=1, on_call=0), "on_call is 0"),
        (FaultRule(delay_ms=1, probability=0), "probability is 0"),
        (FaultRule(api=("Heartbeat",), topic="t", delay_ms=1), "never match: topic .* Heartbeat"),
        (FaultRule(api=("CreateTopics",), partition=1, delay_ms=1), "never match: partition"),
        (FaultRule(api=("Produce",), group="g", delay_ms=1), "never match: group"),
        (FaultRule(api=("Fetch",), transactional_id="t", delay_ms=1), "never match: transactional_id"),
    ],
)
def test_a_rule_that_can_do_nothing_is_refused(rule: FaultRule, words: str) -> None:
    with pytest.raises(InvalidFault, match=words):
        Faults().add(rule, BROKERS)
