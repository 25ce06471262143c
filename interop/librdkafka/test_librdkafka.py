"""librdkafka through confluent-kafka: the journeys of every client."""

from collections.abc import Iterator

import confluent_kafka
import pytest

from interop.librdkafka.client import Librdkafka
from interop.support.consumer_protocol_journeys import ConsumerProtocolJourneys
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.more_journeys import (
    AutoCreationJourneys,
    MoreGroupJourneys,
    MoreJourneys,
    NoAutoCreationJourneys,
)
from interop.support.servers import Server
from interop.support.transaction_journeys import TransactionJourneys

FIRST_WITH_CONSUMER_PROTOCOL = 0x020C0000


@pytest.fixture
def client(server: Server) -> Iterator[Librdkafka]:
    """A new client for each test."""
    client = Librdkafka(server.bootstrap)
    yield client
    client.close()


class TestLibrdkafka(Journeys):
    """Topics, records, restart."""


class TestLibrdkafkaGroups(GroupJourneys):
    """Consumer groups."""


@pytest.mark.whole
class TestMoreLibrdkafka(MoreJourneys, MoreGroupJourneys, AutoCreationJourneys):
    """Limits, resets, auto topic creation."""


class TestLibrdkafkaNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture
    def client(self, strict_server: Server) -> Iterator[Librdkafka]:
        client = Librdkafka(strict_server.bootstrap)
        yield client
        client.close()


class TestLibrdkafkaTransactions(TransactionJourneys):
    """Transactions."""


@pytest.mark.skipif(
    confluent_kafka.libversion()[1] < FIRST_WITH_CONSUMER_PROTOCOL,
    reason="not in this client: the consumer protocol",
)
class TestLibrdkafkaConsumerProtocol(ConsumerProtocolJourneys):
    """Groups of the consumer protocol."""

    faults = {
        "test_there_and_back[cooperative]": "librdkafka's cooperative-sticky assignor leaves user data in "
        "assignments from the second rebalance on; who comes after it is refused with GROUP_ID_NOT_FOUND"
    }
