"""A test cluster as a process: ``pybroker serve`` with a control listener, a seed, or several brokers."""

import gc
import logging
import signal
import socket
import sys
from pathlib import Path

import trio

from pybroker.app.announcement import Announcement
from pybroker.app.broker import first_message
from pybroker.config.broker import BrokerConfig
from pybroker.config.tables.own import testing_keys
from pybroker.control.reading import BadInput
from pybroker.model.errors import StartupError
from pybroker.storage.handles import raise_descriptor_limit
from pybroker.testing.controls import HostControls
from pybroker.testing.host import Host, HostSettings
from pybroker.testing.seeds import Seed, load_seed

logger = logging.getLogger(__name__)

_OWN = frozenset(key.name for key in testing_keys)


def serve(config: BrokerConfig, announcement: Announcement) -> int:
    """Run a test cluster until SIGTERM or SIGINT. Returns the exit code.

    When it is ready, it prints the address of its control listener, if it has one, as a line.

    Raises:
        StartupError: it cannot start; the message is one line for the user.
    """
    raise_descriptor_limit()
    try:
        seed = load_seed(Path(config.pybroker_seed_file)) if config.pybroker_seed_file else Seed()
        listening = _bind(config.pybroker_control_listener)
    except BadInput as error:
        raise StartupError(str(error)) from None
    failure: StartupError | None = None
    try:
        trio.run(_serve_until_signalled, config, seed, listening, announcement)
    except* StartupError as group:
        failure = StartupError(first_message(group))
    except* BadInput as group:
        failure = StartupError(first_message(group))
    if failure is not None:
        raise failure
    return 0


def settings_of(config: BrokerConfig) -> HostSettings:
    """The settings of the cluster that a configuration describes: one listener a broker, on one host, with
    ports that count up from the configured one (which may be 0)."""
    listeners = config.listeners.bound
    count = config.pybroker_brokers
    if count > 1 and len(listeners) > 1:
        raise StartupError(
            f"listeners: a test cluster of {count} brokers has one listener, not {len(listeners)}"
        )
    first = listeners[0]
    own = {"broker.id", "listeners", "log.dirs", "log.dir", "broker.rack", *_OWN}
    properties = {name: text for name, text in config.layers.merged().items() if name not in own}
    return HostSettings(
        brokers=count,
        first_id=max(config.broker_id, 0),
        ports=tuple(first.port and first.port + number for number in range(count)),
        host=first.host,
        racks=config.pybroker_racks,
        properties=properties,
        log_dirs=config.pybroker_log_dirs_count,
        snapshot=Path(config.pybroker_snapshot_dir) if config.pybroker_snapshot_dir else None,
    )


def _bind(address: str) -> socket.socket | None:
    if not address:
        return None
    from pybroker.control.http import bind

    try:
        return bind(address)
    except OSError as error:
        raise StartupError(f"pybroker.control.listener={address}: {error.strerror or error}") from None


async def _serve_until_signalled(
    config: BrokerConfig, seed: Seed, listening: socket.socket | None, announcement: Announcement
) -> None:
    announcement.begin()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            host = Host(settings_of(config))
            await nursery.start(host.run)
            controls = HostControls(host, seed)
            await controls.plant()
            addresses = ", ".join(hosted.address for hosted in host.brokers.values())
            logger.info("a test cluster serves %s", addresses)
            if listening is not None:
                await _control(nursery, controls, listening, config.pybroker_control_token or "")
            first = host.any_running()
            announcement.ready(first.broker_id, first.endpoints)
            gc.freeze()
            gc.enable()
            async for number in signals:
                logger.info("stopping: %s", signal.Signals(number).name)
                break
            announcement.end()
            nursery.cancel_scope.cancel()


async def _control(
    nursery: trio.Nursery, controls: HostControls, listening: socket.socket, token: str
) -> None:
    from pybroker.control import http

    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    await nursery.start(lambda task_status: http.run(controls, listening, token, task_status=task_status))
    logger.info("tests control it at %s", address)
    print(address, flush=True, file=sys.stdout)
