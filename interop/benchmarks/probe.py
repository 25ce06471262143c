"""The first metadata answer of a broker that is starting, asked for without a client library."""

import socket
import struct
import time
from collections.abc import Callable

from interop.support.process import LOCALHOST

RETRY_S = 0.002
METADATA, VERSION, CORRELATION_ID = 3, 1, 20390
_NO_TOPICS = 0


def await_metadata(port: int, timeout_s: float, check_alive: Callable[[], object]) -> None:
    """Ask until a well-formed answer names a broker.

    Raises:
        AssertionError: after ``timeout_s``, or what ``check_alive`` raises about a process that has ended.
    """
    deadline = time.monotonic() + timeout_s
    while not _names_a_broker(port, timeout_s):
        check_alive()
        assert time.monotonic() < deadline, f"no metadata on port {port} in {timeout_s:g} s"
        time.sleep(RETRY_S)


def _names_a_broker(port: int, timeout_s: float) -> bool:
    body = struct.pack(">hhihi", METADATA, VERSION, CORRELATION_ID, -1, _NO_TOPICS)
    try:
        with socket.create_connection((LOCALHOST, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(65536)
    except OSError:
        return False
    if len(answer) < 12:
        return False
    _size, correlation_id, brokers = struct.unpack_from(">iii", answer)
    return bool(correlation_id == CORRELATION_ID and brokers > 0)
