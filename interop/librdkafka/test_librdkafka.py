"""librdkafka through confluent-kafka: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.librdkafka.client import Librdkafka
from interop.support.journeys import Journeys
from interop.support.servers import Server


class TestLibrdkafka(Journeys):
    @pytest.fixture
    def client(self, server: Server) -> Iterator[Librdkafka]:
        client = Librdkafka(server.bootstrap)
        yield client
        client.close()
