"""What ``pybroker health`` finds out, against a real broker and against what is none."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from pybroker.health import Unhealthy, ask, first_address, split_address
from tests.support.broker import running_broker
from tests.support.command_line import run


@contextmanager
def peer(answer: bytes) -> Iterator[int]:
    """The port of something that gives one connection this answer and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


async def test_a_broker_that_serves_is_healthy_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker:
        port = broker.endpoints[0].port
        await trio.to_thread.run_sync(ask, "127.0.0.1", port, 5)
    with pytest.raises(Unhealthy, match=f"127.0.0.1:{port}: Connection refused"):
        ask("127.0.0.1", port, 5)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the connection was closed instead of an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n", "this is not a Kafka broker's answer"),
        (b"\0\0\0\x06\0\0\0\x01\0\x23", "this is not a Kafka broker's answer"),
    ],
)
def test_what_is_no_brokers_answer_is_unhealthy(answer: bytes, reason: str) -> None:
    with peer(answer) as port, pytest.raises(Unhealthy, match=reason):
        ask("127.0.0.1", port, 5)


def test_a_peer_that_never_answers_costs_the_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Unhealthy, match=f"127.0.0.1:{port}: timed out"):
            ask("127.0.0.1", port, 0.05)


def test_the_first_listener_without_tls_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "addresses"
    file.write_text("SECURE://0.0.0.0:9093 SSL\nBROKER://0.0.0.0:9094 SASL_PLAINTEXT\n")
    assert first_address(file) == ("127.0.0.1", 9094)
    file.write_text("BROKER://[::]:9094 PLAINTEXT\n")
    assert first_address(file) == ("::1", 9094)
    file.write_text("BROKER://:9094 PLAINTEXT\n")
    assert first_address(file) == ("localhost", 9094)
    file.write_text("BROKER://[fd00::2]:9094 PLAINTEXT\n")
    assert first_address(file) == ("fd00::2", 9094)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SECURE://0.0.0.0:9093 SSL\n", "every listener speaks TLS"),
        ("nonsense\n", "'nonsense' is not a listener"),
        ("", "every listener speaks TLS"),
    ],
)
def test_a_file_without_an_address_to_ask_is_unhealthy(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "addresses"
    file.write_text(text)
    with pytest.raises(Unhealthy, match=reason):
        first_address(file)


def test_the_command_says_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(b"\0\0\0\x06\0\0\0\x01\0\0") as port:
        healthy = run(["health", f"127.0.0.1:{port}"])
    assert (healthy.exit_code, healthy.output) == (0, f"127.0.0.1:{port} serves clients\n")
    file = tmp_path / "addresses"
    monkeypatch.setenv("PYBROKER_ADDRESSES_FILE", str(file))
    missing = run(["health"])
    assert missing.exit_code == 1
    assert missing.errors == f"pybroker: {file} is not there: the broker is not ready, or stopped\n"
    wrong = run(["health", "localhost"])
    assert wrong.exit_code == 2
    assert "'localhost' is not HOST:PORT" in wrong.errors


@pytest.mark.parametrize("text", ["localhost", ":9092", "localhost:", "localhost:kafka"])
def test_an_address_has_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_address(text)


def test_asking_loads_neither_trio_nor_the_codecs() -> None:
    program = (
        "import sys, pybroker.cli, pybroker.health; "
        "print([m for m in ('trio', 'construct', 'msgspec', 'pybroker.config') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
