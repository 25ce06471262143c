"""How this broker speaks to others, by what it speaks to them for."""

from pybroker.config.broker import BrokerConfig
from pybroker.model.ids import BrokerId
from pybroker.replication.peer import PeerSettings


def controller_peer_settings(broker_id: BrokerId, config: BrokerConfig) -> PeerSettings:
    """A controller to the brokers, and a broker to its controller."""
    return PeerSettings(
        client_id=str(broker_id),
        request_timeout_s=config.controller_socket_timeout_ms / 1000,
        connect_timeout_s=config.socket_connection_setup_timeout_ms / 1000,
    )
