"""Ports that stay a broker's own while no broker listens on them."""

import socket

from pybroker.model.errors import StartupError


class PortLease:
    """A port kept from everybody else by a socket that is bound and never listens: connections are refused
    until a broker binds the port too (SO_REUSEADDR allows that), and again after it has gone.

    Args:
        host: an address of this machine.
        port: 0 takes a free one.

    Raises:
        StartupError: the port cannot be had.
    """

    def __init__(self, host: str, port: int = 0) -> None:
        self.host = host
        self.is_chosen = port != 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise StartupError(f"port {port} of {host} cannot be had: {error.strerror}") from None
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Gives the port back."""
        self._socket.close()
