"""kafka-python: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.kafka_python.client import KafkaPython
from interop.support.journeys import Journeys
from interop.support.servers import Server


class TestKafkaPython(Journeys):
    @pytest.fixture
    def client(self, server: Server) -> Iterator[KafkaPython]:
        client = KafkaPython(server.bootstrap)
        yield client
        client.close()
