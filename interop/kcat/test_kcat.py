"""kcat: the journeys of every client, on auto-created topics of one partition."""

from collections.abc import Iterator

import pytest

from interop.kcat.client import Kcat
from interop.support.journeys import Journeys
from interop.support.servers import Server


class TestKcat(Journeys):
    @pytest.fixture
    def client(self, server: Server) -> Iterator[Kcat]:
        client = Kcat(server.bootstrap)
        yield client
        client.close()
