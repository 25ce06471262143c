"""Transactions that end by a test's will, as librdkafka's producer sees it."""

from collections.abc import Callable

import confluent_kafka
import pytest
from confluent_kafka import Producer

from pybroker.control.operations import NoSuchThing, OperationFailed
from pybroker.control.reading import BadInput
from pybroker.testing import KafkaCluster

Clusters = Callable[..., KafkaCluster]


def begun(cluster: KafkaCluster) -> Producer:
    """A producer in a transaction whose record the broker has."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": "till"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("orders", b"x")
    assert producer.flush(10) == 0
    return producer


def test_a_fenced_producer_cannot_commit(kafka_broker: KafkaCluster) -> None:
    kafka_broker.create_topic("orders")
    producer = begun(kafka_broker)
    kafka_broker.fence_producer("till")
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        producer.commit_transaction(10)
    assert refused.value.args[0].code() == confluent_kafka.KafkaError._FENCED
    again = begun(kafka_broker)
    again.commit_transaction(10)


def test_an_expired_transaction_is_aborted(kafka_broker: KafkaCluster) -> None:
    kafka_broker.create_topic("orders")
    producer = begun(kafka_broker)
    kafka_broker.expire_transaction("till")
    with pytest.raises(confluent_kafka.KafkaException):
        producer.commit_transaction(10)
    with pytest.raises(OperationFailed, match="'till' has no open transaction: it is CompleteAbort"):
        kafka_broker.expire_transaction("till")


def test_a_transaction_goes_on_with_another_coordinator(kafka_cluster: Clusters) -> None:
    cluster = kafka_cluster(brokers=3)
    cluster.create_topic("orders")
    producer = begun(cluster)
    first = cluster.journal(api="InitProducerId")[-1]["broker_id"]
    cluster.move_coordinator(transactional_id="till", to=(first + 1) % 3)
    producer.commit_transaction(20)
    last = cluster.journal(api="EndTxn")[-1]
    assert (last["broker_id"], last["errors"]) == ((first + 1) % 3, [])


def test_an_id_that_nobody_has_is_refused_by_name(kafka_broker: KafkaCluster) -> None:
    with pytest.raises(NoSuchThing, match="no transactional id 'tll'; there are: none"):
        kafka_broker.fence_producer("tll")
    with pytest.raises(NoSuchThing, match="no transactional id 'tll'; there are: none"):
        kafka_broker.expire_transaction("tll")
    with pytest.raises(BadInput, match="either a group or a transactional_id"):
        kafka_broker.call("move_coordinator", broker=0)
