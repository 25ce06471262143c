"""Clients under trouble: idempotent producers and a group of consumers, which note what they are told."""

import threading
import time
from collections import Counter

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Position

from pybroker.model.ids import TopicPartition
from tests.support.history import Commit, History, Sent

COMMIT_EVERY_S = 0.3


class Load:
    """``producers`` and ``consumers`` threads on one topic.

    Attributes:
        history: what they were told.
        errors: what went wrong that must not; good runs have none.
        trouble: errors that clients are told to expect while the cluster is ill, counted.
    """

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, *, producers: int = 2, consumers: int = 2,
        per_second: int = 200,
    ) -> None:  # fmt: skip
        self.history = History()
        self.errors: list[str] = []
        self.trouble: Counter[str] = Counter()
        self.consumed = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._pause_s = 1 / per_second
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._producers = [
            threading.Thread(target=self._guard, args=(self._produce, f"p{number}"))
            for number in range(producers)
        ]
        self._consumers = [
            threading.Thread(target=self._guard, args=(self._consume, f"c{number}"))
            for number in range(consumers)
        ]
        self._consumers_ending = threading.Event()

    @property
    def acknowledged(self) -> int:
        with self._lock:
            return sum(map(len, self.history.acknowledged.values()))

    def start(self) -> None:
        for thread in (*self._producers, *self._consumers):
            thread.start()

    def stop(self) -> None:
        """Producers first, whose last records are waited for; then the consumers."""
        for ending, threads in (
            (self._ending, self._producers),
            (self._consumers_ending, self._consumers),
        ):
            ending.set()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join(120)
                if thread.is_alive():
                    self.errors.append("a client does not come to its end")

    def _guard(self, work, name: str) -> None:
        try:
            work(name)
        except Exception as error:  # noqa: BLE001 - a thread's failure is the run's
            self.errors.append(f"{name}: {error!r}")

    # -- producing -------------------------------------------------------------------------------------

    def _produce(self, name: str) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "client.id": name,
                "log_level": 0,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "message.timeout.ms": 0,
                "socket.timeout.ms": 10_000,
                "error_cb": lambda error: self._on_error(name, error),
            }
        )
        numbers = [0] * self._partitions
        partition = 0
        while not self._ending.is_set():
            partition = (partition + 1) % self._partitions
            sent = Sent(name, numbers[partition])
            try:
                producer.produce(
                    self._topic,
                    f"{sent.producer}:{sent.number}".encode(),
                    partition=partition,
                    on_delivery=lambda error, message, sent=sent: self._delivered(sent, error, message),
                )
            except BufferError:
                producer.poll(0.1)
                continue
            numbers[partition] += 1
            producer.poll(0)
            time.sleep(self._pause_s)
        left = producer.flush(90)
        if left:
            self.errors.append(f"{name}: {left} records were never answered")

    def _delivered(self, sent: Sent, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.errors.append(f"{sent}: {error}")
            return
        with self._lock:
            self.history.acknowledge(TopicPartition(self._topic, message.partition()), sent)

    def _on_error(self, name: str, error: KafkaError) -> None:
        if error.fatal():
            self.errors.append(f"{name}: fatal: {error}")
        else:
            self.trouble[error.name()] += 1

    # -- consuming -------------------------------------------------------------------------------------

    def _consume(self, name: str) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "client.id": name,
                "log_level": 0,
                "group.id": "soak",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 1000,
                "socket.timeout.ms": 10_000,
                "error_cb": lambda error: self._on_error(name, error),
            }
        )
        consumer.subscribe([self._topic])
        committed_s = time.monotonic()
        try:
            while not self._consumers_ending.is_set():
                for message in consumer.consume(500, 0.1):
                    if message.error():
                        self.trouble[message.error().name()] += 1
                    else:
                        self.consumed += 1
                if time.monotonic() - committed_s > COMMIT_EVERY_S:
                    self._commit(consumer)
                    committed_s = time.monotonic()
        finally:
            consumer.close()

    def _commit(self, consumer: Consumer) -> None:
        positions = [place for place in consumer.position(consumer.assignment()) if place.offset >= 0]
        if not positions:
            return
        sent_s = time.monotonic()
        try:
            answers = consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            self.trouble[f"commit {error.args[0].name()}"] += 1
            return
        now_s = time.monotonic()
        with self._lock:
            for answer in answers:
                if answer.error is None:
                    tp = TopicPartition(answer.topic, answer.partition)
                    self.history.commits.append(Commit(tp, answer.offset, sent_s, now_s))

    # -- afterwards ------------------------------------------------------------------------------------

    def committed(self) -> dict[TopicPartition, int]:
        """The group's offsets, as the cluster has them now."""
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "soak"})
        asked = [Position(self._topic, index) for index in range(self._partitions)]
        try:
            return {
                TopicPartition(found.topic, found.partition): found.offset
                for found in consumer.committed(asked, timeout=30)
            }
        finally:
            consumer.close()

    def log(self, partition: int) -> list[Sent]:
        """All records of a partition, as a consumer reads them."""
        consumer = Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": "reader", "enable.auto.commit": False}
        )
        found: list[Sent] = []
        try:
            low, high = consumer.get_watermark_offsets(Position(self._topic, partition), timeout=30)
            consumer.assign([Position(self._topic, partition, low)])
            position = low
            while position < high:
                for message in consumer.consume(min(10_000, high - position), 10.0):
                    if message.error():
                        raise KafkaException(message.error())
                    if message.offset() < position:
                        where = f"{self._topic}-{partition}"
                        raise AssertionError(
                            f"{where}: offset {message.offset()} was given again, not {position}"
                        )
                    producer, _, number = message.value().decode().partition(":")
                    found.append(Sent(producer, int(number)))
                    position = message.offset() + 1
        finally:
            consumer.close()
        return found
