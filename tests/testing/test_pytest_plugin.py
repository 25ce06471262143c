"""The fixtures and options, in pytest runs of their own."""

import pytest

WRITES = """
from kafka import KafkaProducer

def write(broker):
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    producer.send("orders", b"x").get(10)
    producer.close(timeout=1)
    return [record["value"] for record in broker.records("orders")]
"""

FRESH = (
    WRITES
    + """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it_is_fresh(kafka_broker, number):
    assert write(kafka_broker) == ["x"]
"""
)

ALONE = ("-p", "no:cacheprovider", "-W", "ignore")


def test_thirty_tests_each_have_a_fresh_broker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FRESH.format(count=30))
    pytester.runpytest_inprocess(*ALONE).assert_outcomes(passed=30)


def test_workers_of_xdist_have_brokers_of_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FRESH.format(count=4))
    result = pytester.runpytest_subprocess(*ALONE, "-n", "2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*2 workers*"])


def test_a_failure_is_reported_with_the_requests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        WRITES
        + """
def test_it_fails(kafka_broker):
    assert write(kafka_broker) == ["y"]

def test_it_passes(kafka_broker):
    assert write(kafka_broker) == ["x"]
"""
    )
    result = pytester.runpytest_inprocess(*ALONE)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*- requests to 127.0.0.1:* -*", "*Produce v*orders*"])


def test_options_of_the_command_line_and_of_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
def test_it(kafka_broker):
    assert len(kafka_broker.call("brokers")) == 2
    assert [record["value"] for record in kafka_broker.records("orders")] == ["seeded"]
"""
    )
    pytester.makefile(".yaml", seed="topics: [{name: orders, records: [{value: seeded}]}]")
    pytester.makeini("[pytest]\nkafka_seed = seed.yaml\n")
    pytester.runpytest_inprocess(*ALONE, "--kafka-replication", "2").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--kafka-security=sasl", "--kafka-security: the brokers have no TLS and no SASL yet; leave it out"),
        ("--kafka-replication=many", "--kafka-replication=many: must be a number of brokers, 1 to 100"),
        ("--kafka-replication=0", "--kafka-replication=0: must be a number of brokers, 1 to 100"),
        ("--kafka-persona=2.7", "--kafka-persona=2.7: must be one of 0.11, 1.1, 2.8, 3.9, 4.1"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(pytester: pytest.Pytester, option: str, line: str) -> None:
    result = pytester.runpytest_inprocess(*ALONE, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [each for each in result.errlines if each] == [f"ERROR: {line}"]
