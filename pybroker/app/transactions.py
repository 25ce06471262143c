"""The services of transactions, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybroker.coordination.runtime.markers import OtherBrokers, TransactionMarkers
from pybroker.coordination.runtime.transactions import TransactionCoordinator
from pybroker.coordination.runtime.verification import TransactionVerifier
from pybroker.model.features import TRANSACTION_VERSION
from pybroker.model.topics import TRANSACTION_STATE
from pybroker.model.values import Value

if TYPE_CHECKING:  # app/warming.py says what is late
    from pybroker.config.broker import BrokerConfig
    from pybroker.coordination.producer_ids import ProducerIds
    from pybroker.coordination.runtime.groups import GroupCoordinator
    from pybroker.instruments.clock import TimerQueue
    from pybroker.metadata.image import ClusterImage
    from pybroker.model.ids import BrokerId
    from pybroker.replication.replicas import Replicas


class TransactionServices(Value):
    coordinator: TransactionCoordinator
    markers: TransactionMarkers
    verifier: TransactionVerifier


def build_transactions(
    broker_id: BrokerId,
    current_config: Callable[[], BrokerConfig],
    image: Callable[[], ClusterImage],
    replicas: Replicas,
    groups: GroupCoordinator,
    producer_ids: ProducerIds,
    others: OtherBrokers,
    now_ms: Callable[[], int],
    timers: TimerQueue,
) -> TransactionServices:
    """The coordinator, and those who work for it."""
    config = current_config()

    def partitions() -> int:
        topic = image().topics.get(TRANSACTION_STATE)
        return config.transaction_state_log_num_partitions if topic is None else len(topic.partitions)

    markers = TransactionMarkers(
        broker_id,
        replicas,
        image,
        others,
        now_ms,
        groups.on_marker,
        config.request_timeout_ms / 1000,
    )
    coordinator = TransactionCoordinator(
        config,
        now_ms,
        timers,
        partitions,
        producer_ids,
        markers.write,
        record_version=lambda: 1 if image().features.get(TRANSACTION_VERSION, 0) > 0 else 0,
    )
    verifier = TransactionVerifier(
        broker_id,
        image,
        coordinator,
        others,
        lambda: current_config().transaction_partition_verification_enable,
    )
    return TransactionServices(coordinator, markers, verifier)
