"""What a broker's process tells those around it when clients are served."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pybroker.model.endpoint import Endpoint
from pybroker.model.errors import StartupError
from pybroker.model.ids import BrokerId
from pybroker.model.values import Value

_UNFENCED = "The broker has been unfenced. Transitioning from RECOVERY to RUNNING."
_KAFKAS_WORDS = (
    ("BrokerLifecycleManager", f"[BrokerLifecycleManager id=%d] {_UNFENCED}"),
    ("KafkaRaftServer", "[KafkaRaftServer nodeId=%d] Kafka Server started"),
    ("KafkaServer", "[KafkaServer id=%d] started"),
)
"""Kafka's classes and what they log, the last one in ZooKeeper mode; programs wait for one or another."""


class Announcement(Value):
    """A file of addresses and lines in the log, both for programs that wait for the broker.

    Args:
        addresses_file: gets a line ``LISTENER://HOST:PORT PROTOCOL`` for each listener, with the ports that
            were bound; it is there only while clients are served.
        in_kafkas_words: says in the log what Apache Kafka says, in both of its modes, when it is ready.
    """

    addresses_file: Path | None = None
    in_kafkas_words: bool = False

    def begin(self) -> None:
        """Takes away what a broker left that was killed.

        Raises:
            StartupError: the file cannot be removed.
        """
        if self.addresses_file is not None:
            try:
                self.addresses_file.unlink(missing_ok=True)
            except OSError as error:
                raise StartupError(f"{self.addresses_file} cannot be removed: {error.strerror}") from error

    def ready(self, broker_id: BrokerId, endpoints: Sequence[Endpoint]) -> None:
        """Clients are served now.

        Raises:
            StartupError: the file cannot be written.
        """
        if self.addresses_file is not None:
            try:
                _write_whole(self.addresses_file, endpoints)
            except OSError as error:
                raise StartupError(f"{self.addresses_file} cannot be written: {error.strerror}") from error
        if self.in_kafkas_words:
            for name, words in _KAFKAS_WORDS:
                logging.getLogger(f"kafka.server.{name}").info(words, broker_id)

    def end(self) -> None:
        """No client is served any more."""
        if self.addresses_file is not None:
            self.addresses_file.unlink(missing_ok=True)


def _write_whole(file: Path, endpoints: Sequence[Endpoint]) -> None:
    """A reader finds the whole file or none."""
    lines = [f"{endpoint} {endpoint.security_protocol.name}\n" for endpoint in endpoints]
    part = file.with_name(f"{file.name}.part")
    part.write_text("".join(lines))
    part.replace(file)
