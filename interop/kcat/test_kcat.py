"""kcat: the journeys of every client, on auto-created topics of one partition; as members of groups."""

from collections.abc import Iterator

import pytest

from interop.kcat.client import Kcat
from interop.kcat.groups import KcatGroups
from interop.support.group_journeys import GroupJourneys
from interop.support.journeys import Journeys
from interop.support.more_journeys import (
    AutoCreationJourneys,
    MoreGroupJourneys,
    MoreJourneys,
    NoAutoCreationJourneys,
)
from interop.support.servers import Server


class TestKcat(Journeys):
    """Topics, records, restart."""

    @pytest.fixture
    def client(self, server: Server) -> Kcat:
        return Kcat(server.bootstrap)


@pytest.mark.whole
class TestMoreKcat(MoreJourneys, AutoCreationJourneys):
    """Limits, auto topic creation."""

    test_topic_with_a_larger_limit = None  # type: ignore[assignment]
    """It creates no topics with configurations."""

    @pytest.fixture
    def client(self, server: Server) -> Kcat:
        return Kcat(server.bootstrap)


class TestKcatNoAutoCreation(NoAutoCreationJourneys):
    """Auto topic creation forbidden."""

    @pytest.fixture
    def client(self, strict_server: Server) -> Kcat:
        return Kcat(strict_server.bootstrap)


@pytest.mark.whole
class TestKcatGroups(GroupJourneys):
    """Consumer groups: kcat -G. Not in the quick part: it commits every five seconds, whatever it is told."""

    @pytest.fixture
    def client(self, server: Server) -> Iterator[KcatGroups]:
        client = KcatGroups(server.bootstrap)
        yield client
        client.close()


@pytest.mark.whole
class TestMoreKcatGroups(MoreGroupJourneys):
    """Offset resets, many partitions: kcat -G."""

    @pytest.fixture
    def client(self, server: Server) -> Iterator[KcatGroups]:
        client = KcatGroups(server.bootstrap)
        yield client
        client.close()
