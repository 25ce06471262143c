"""Whom a process tells that clients are served, and when it takes that back."""

import logging
from pathlib import Path

import pytest

from pybroker.app.announcement import Announcement
from pybroker.model.endpoint import Endpoint, SecurityProtocol
from pybroker.model.errors import StartupError

ENDPOINTS = (
    Endpoint("SECURE", "0.0.0.0", 9093, SecurityProtocol.SSL),
    Endpoint("BROKER", "::1", 9094),
)


def test_the_file_of_addresses_is_there_while_clients_are_served(tmp_path: Path) -> None:
    file = tmp_path / "addresses"
    file.write_text("of a broker that was killed")
    announcement = Announcement(file)
    announcement.begin()
    assert not file.exists()
    announcement.ready(1, ENDPOINTS)
    assert file.read_text() == "SECURE://0.0.0.0:9093 SSL\nBROKER://[::1]:9094 PLAINTEXT\n"
    announcement.end()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    announcement = Announcement(tmp_path / "missing" / "addresses")
    announcement.begin()
    with pytest.raises(StartupError, match="addresses cannot be written: No such file or directory"):
        announcement.ready(1, ENDPOINTS)


def test_programs_that_wait_for_a_line_of_kafkas_log_find_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Announcement().ready(7, ENDPOINTS)
    assert caplog.messages == []
    Announcement(in_kafkas_words=True).ready(7, ENDPOINTS)
    assert [(record.name, record.message) for record in caplog.records] == [
        (
            "kafka.server.BrokerLifecycleManager",
            "[BrokerLifecycleManager id=7] The broker has been unfenced. "
            "Transitioning from RECOVERY to RUNNING.",
        ),
        ("kafka.server.KafkaRaftServer", "[KafkaRaftServer nodeId=7] Kafka Server started"),
        ("kafka.server.KafkaServer", "[KafkaServer id=7] started"),
    ]
