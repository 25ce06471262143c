"""kcat: the journeys of every client, on auto-created topics of one partition."""

import pytest

from interop.kcat.client import Kcat
from interop.support.journeys import Journeys
from interop.support.servers import Server


@pytest.fixture
def client(server: Server) -> Kcat:
    return Kcat(server.bootstrap)


class TestKcat(Journeys):
    """Topics, records, restart."""
