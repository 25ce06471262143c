"""The composition root: what of the configuration reaches the rooms."""

from pybroker.app.current_config import server_settings
from pybroker.config.broker import BrokerConfig


def test_socket_buffers_are_the_systems_unless_somebody_asks() -> None:
    settings = server_settings(BrokerConfig.from_properties({}))
    assert (settings.socket_send_buffer_bytes, settings.socket_receive_buffer_bytes) == (-1, -1)
    asked = {"socket.send.buffer.bytes": "102400", "socket.receive.buffer.bytes": "65536"}
    settings = server_settings(BrokerConfig.from_properties(asked))
    assert (settings.socket_send_buffer_bytes, settings.socket_receive_buffer_bytes) == (102400, 65536)
