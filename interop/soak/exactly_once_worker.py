"""One worker of the exactly-once soak: consumes, and produces the same again, in transactions.

``exactly_once`` runs it as ``python -m interop.soak.exactly_once_worker BOOTSTRAP TRANSACTIONAL_ID GROUP
SOURCE SINK``, until it is killed. What fails in a way that a transaction may fail is aborted and done again
from the committed positions; after anything else the process ends, and whoever started it starts it again.
"""

import faulthandler
import random
import sys
from contextlib import suppress

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

BATCH = 50
TIMEOUT_S = 10.0
STUCK_AFTER_S = 15.0
"""librdkafka 2.16 can stay in ``send_offsets_to_transaction`` for ever when its broker was killed, long past
the time-out that it was given, and ask no broker anything: a worker that long in one step ends itself."""

TRANSACTION_TIMEOUT_MS = 10_000
ABORT_EVERY = 20
"""One of so many transactions is aborted for no reason."""


class Worker:
    def __init__(self, bootstrap: str, transactional_id: str, group: str, source: str, sink: str) -> None:
        common = {"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": 10_000}
        self._sink = sink
        self._random = random.Random(transactional_id)
        self._producer = Producer(
            {
                **common,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "linger.ms": 2,
            }
        )
        self._consumer = Consumer(
            {
                **common,
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
            }
        )
        self._producer.init_transactions(TIMEOUT_S)
        self._consumer.subscribe([source])

    def run(self) -> None:
        while True:
            faulthandler.dump_traceback_later(STUCK_AFTER_S, exit=True)
            messages = [one for one in self._consumer.consume(BATCH, 0.2) if one.error() is None]
            if not messages:
                continue
            try:
                self._copy(messages)
            except KafkaException as error:
                self._recover(error.args[0])

    def _copy(self, messages: list) -> None:
        self._producer.begin_transaction()
        for message in messages:
            self._producer.produce(self._sink, message.value(), partition=message.partition())
            self._producer.poll(0)
        if self._random.randrange(ABORT_EVERY) == 0:
            self._producer.flush(TIMEOUT_S)
            self._start_over()
            return
        positions = [one for one in self._consumer.position(self._consumer.assignment()) if one.offset >= 0]
        self._producer.send_offsets_to_transaction(
            positions, self._consumer.consumer_group_metadata(), TIMEOUT_S
        )
        self._commit()

    def _commit(self) -> None:
        while True:
            try:
                self._producer.commit_transaction(TIMEOUT_S)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
            else:
                return

    def _recover(self, error: KafkaError) -> None:
        print(f"{error.name()}: {error}", file=sys.stderr, flush=True)
        if not error.txn_requires_abort():
            raise KafkaException(error)
        self._start_over()

    def _start_over(self) -> None:
        """Abort, and go back to what is committed."""
        while True:
            try:
                self._producer.abort_transaction(TIMEOUT_S)
                break
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
        assigned = self._consumer.assignment()
        if not assigned:
            return
        for place in self._consumer.committed(assigned, TIMEOUT_S):
            if place.error is not None:
                raise KafkaException(place.error)
            start = place.offset if place.offset >= 0 else OFFSET_BEGINNING
            # A partition that was taken away meanwhile begins where its next owner is told.
            with suppress(KafkaException):
                self._consumer.seek(TopicPartition(place.topic, place.partition, start))


if __name__ == "__main__":
    Worker(*sys.argv[1:]).run()
