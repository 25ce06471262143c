"""A handler that is imported late answers as if it had always been there."""

from typing import Any, cast

from pybroker.handlers.context import RequestContext
from pybroker.handlers.describe_acls import ChangeAclsHandler, DescribeAclsHandler
from pybroker.handlers.describe_topic_partitions import DescribeTopicPartitionsHandler
from pybroker.handlers.late import Late, LateHandler


def test_it_is_made_once_of_the_class_that_the_module_is_called_after() -> None:
    late = LateHandler("describe_topic_partitions", 2000)
    handler = late.made()
    assert isinstance(handler, DescribeTopicPartitionsHandler)
    assert late.made() is handler
    assert isinstance(LateHandler("describe_acls").made(), DescribeAclsHandler)


def test_another_class_of_the_module_is_named() -> None:
    assert isinstance(LateHandler("describe_acls.ChangeAclsHandler").made(), ChangeAclsHandler)


async def test_it_can_be_called_in_the_place_of_the_handler() -> None:
    async def answer(context: RequestContext, request: Any) -> str:
        return f"{context} {request}"

    late = LateHandler("describe_acls")
    late._handler = answer
    assert await late(cast(RequestContext, "context"), "request") == "context request"


def test_a_service_is_made_once_and_only_when_a_handler_needs_it() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(2000)
        return 2000

    limit = Late(make)
    late = LateHandler("describe_topic_partitions", limit)
    assert made == []
    assert late.made() == DescribeTopicPartitionsHandler(2000)
    assert limit.made() == 2000
    assert made == [2000]
