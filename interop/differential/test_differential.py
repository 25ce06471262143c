"""The short form, for whole runs of the suite: first, middle and last versions against Apache Kafka 3.9."""

import pytest

from interop.differential.report import details
from interop.differential.run import both_servers, compare

ENOUGH_REQUESTS = 1500


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_apache_kafka_and_pybroker_answer_alike() -> None:
    with both_servers() as (apache, pybroker):
        tally = compare(apache, pybroker, None, quick=True)
    assert not tally.findings, details(tally)
    assert tally.total >= ENOUGH_REQUESTS
