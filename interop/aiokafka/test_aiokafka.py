"""aiokafka: the journeys of every client."""

from collections.abc import Iterator

import pytest

from interop.aiokafka.client import Aiokafka
from interop.support.journeys import Journeys
from interop.support.servers import Server


class TestAiokafka(Journeys):
    @pytest.fixture
    def client(self, server: Server) -> Iterator[Aiokafka]:
        client = Aiokafka(server.bootstrap)
        yield client
        client.close()
