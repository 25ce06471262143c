"""A member of a group by kafka-python, polled by a thread of its own as an application does.

A KafkaConsumer of 3.0 drops a join that ends between two polls and joins again; members that one thread polls
in turn then disturb each other for ever. A leader whose join is dropped so is also put out of its group.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition  # type: ignore[import-untyped]
from kafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]

from interop.support.client import GroupMember, Received

LOOP_POLL_MS = 1000
"""Longer than a rebalance, so that few joins end between two polls."""
CALL_TIMEOUT_S = 60.0


class PolledMember(GroupMember):
    """The consumer is only touched by the thread, which hands out what it polled."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._records: queue.Queue[list[Received]] = queue.Queue()
        self._calls: queue.Queue[tuple[Callable[[], None], Future[None]]] = queue.Queue()
        self._assignment: frozenset[tuple[str, int]] = frozenset()
        self._failure: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-python member", daemon=True)
        self._thread.start()

    def poll(self, timeout_s: float) -> list[Received]:
        if self._failure is not None:
            raise self._failure
        try:
            return self._records.get(timeout=timeout_s)
        except queue.Empty:
            return []

    def assignment(self) -> frozenset[tuple[str, int]]:
        return self._assignment

    def commit(self) -> None:
        self._in_its_thread(self._consumer.commit)

    def send_positions(self, producer: KafkaProducer) -> None:
        """Make its positions part of a producer's transaction."""

        def send() -> None:
            positions = {
                each: OffsetAndMetadata(self._consumer.position(each), "", -1)
                for each in self._consumer.assignment()
            }
            producer.send_offsets_to_transaction(positions, self._consumer.group_metadata())

        self._in_its_thread(send)

    def _in_its_thread(self, call: Callable[[], None]) -> None:
        done: Future[None] = Future()
        self._calls.put((call, done))
        done.result(CALL_TIMEOUT_S)

    def close(self) -> None:
        self._closing.set()
        self._thread.join(CALL_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._poll_once()
        except Exception as error:  # noqa: BLE001 - raised again where the test polls
            self._failure = error
        finally:
            self._consumer.close()

    def _poll_once(self) -> None:
        while not self._calls.empty():
            call, done = self._calls.get()
            try:
                done.set_result(call())
            except Exception as error:  # noqa: BLE001 - raised again where the test commits
                done.set_exception(error)
        if records := received(self._consumer.poll(LOOP_POLL_MS)):
            self._records.put(records)
        self._assignment = frozenset((each.topic, each.partition) for each in self._consumer.assignment())


def received(polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Received]:
    """The records of one poll, in the order of each partition."""
    return [
        Received(
            record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers)
        )
        for records in polled.values()
        for record in records
    ]
