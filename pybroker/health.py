"""Whether a broker answers: what ``pybroker health`` and an image's HEALTHCHECK ask.

It runs every few seconds beside the broker, so it imports nothing that takes time: the codecs of
:mod:`pybroker.protocol` would double what it costs, and of the answer only the beginning matters.
"""

import socket
import struct
from pathlib import Path

_REQUEST = struct.Struct(">ihhih")
_ANSWER = struct.Struct(">iih")
_API_VERSIONS, _VERSION, _CORRELATION_ID = 18, 0, 1
_CLIENT_ID = b"pybroker-health"
_ENCRYPTED = ("SSL", "SASL_SSL")


class Unhealthy(Exception):
    """It does not answer as it should; the message is one line for the user."""


def ask(host: str, port: int, timeout_s: float) -> None:
    """Asks the broker for its ApiVersions, which a broker answers before any authentication.

    Args:
        timeout_s: for the connection, and again for the answer.

    Raises:
        Unhealthy: no connection, no answer, or not the answer of a broker.
    """
    frame = _REQUEST.pack(
        _REQUEST.size - 4 + len(_CLIENT_ID), _API_VERSIONS, _VERSION, _CORRELATION_ID, len(_CLIENT_ID)
    )
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(frame + _CLIENT_ID)
            answer = connection.recv(_ANSWER.size, socket.MSG_WAITALL)
    except OSError as error:
        raise Unhealthy(f"{host}:{port}: {error.strerror or error}") from None
    if len(answer) < _ANSWER.size:
        raise Unhealthy(f"{host}:{port}: the connection was closed instead of an answer")
    _size, correlation_id, error_code = _ANSWER.unpack(answer)
    if (correlation_id, error_code) != (_CORRELATION_ID, 0):
        raise Unhealthy(f"{host}:{port}: this is not a Kafka broker's answer to ApiVersions")


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: the text is of another form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def first_address(file: Path) -> tuple[str, int]:
    """Where to ask the broker that wrote this file of addresses (``serve --addresses-file``).

    Raises:
        Unhealthy: there is no such file, as before the broker is ready, or no listener without TLS in it.
    """
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        raise Unhealthy(f"{file} is not there: the broker is not ready, or stopped") from None
    except OSError as error:
        raise Unhealthy(f"{file}: {error.strerror}") from None
    for line in lines:
        listener, _, protocol = line.partition(" ")
        if protocol in _ENCRYPTED:
            continue
        host, _, port = listener.partition("://")[2].rpartition(":")
        if not port.isdecimal():
            raise Unhealthy(f"{file}: {line!r} is not a listener")
        return _TO_ASK.get(host, host.strip("[]")), int(port)
    raise Unhealthy(f"{file}: every listener speaks TLS; name an address that does not")


_TO_ASK = {"": "localhost", "0.0.0.0": "127.0.0.1", "[::]": "::1"}
"""Where to ask a listener that is bound to every address."""
