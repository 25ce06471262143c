"""A broker as a process: from its configuration to the signal that ends it."""

import gc
import logging
import signal
import time

import trio

from pybroker import __version__
from pybroker.app.announcement import Announcement
from pybroker.app.broker import Broker, first_message
from pybroker.config.broker import BrokerConfig
from pybroker.instruments.stalls import StallGauge
from pybroker.model.errors import StartupError
from pybroker.storage.handles import raise_descriptor_limit

logger = logging.getLogger(__name__)


def serve(config: BrokerConfig, announcement: Announcement = Announcement()) -> int:  # noqa: B008
    """Run one broker until SIGTERM or SIGINT. Returns the exit code.

    Nothing is collected until the broker is ready, and what exists then is never looked at again: a start
    makes a hundred thousand objects that stay, and hardly any garbage.

    Args:
        config: what it was told.
        announcement: whom to tell when it is ready.

    Raises:
        StartupError: it cannot start; the message is one line for the user.
    """
    raise_descriptor_limit()
    gc.disable()
    gauge = StallGauge()
    failure: StartupError | None = None
    try:
        trio.run(_serve_until_signalled, config, announcement, gauge, instruments=[gauge])
    except* StartupError as group:
        failure = StartupError(first_message(group))
    if failure is not None:
        raise failure
    logger.info("stopped")
    return 0


async def _serve_until_signalled(config: BrokerConfig, announcement: Announcement, gauge: StallGauge) -> None:
    broker = Broker(config)
    announcement.begin()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await _start(nursery, broker)
            announcement.ready(broker.broker_id, broker.endpoints)
            gauge.reset()
            async for number in signals:
                logger.info(
                    "stopping: %s; since it was ready %s", signal.Signals(number).name, _stalls(gauge)
                )
                break
            announcement.end()
            await broker.stop()
            nursery.cancel_scope.cancel()


def _stalls(gauge: StallGauge) -> str:
    return (
        f"the longest stretch on the loop was {gauge.worst_s * 1000:.1f} ms "
        f"({gauge.worst_cpu_s * 1000:.1f} ms of CPU) in {gauge.worst_task or 'no task'}, "
        f"the most CPU in one {gauge.most_cpu_s * 1000:.1f} ms in {gauge.most_cpu_task}, "
        f"and 99.9 % of {gauge.steps} were within {gauge.percentile_s() * 1000:.1f} ms"
    )


async def _start(nursery: trio.Nursery, broker: Broker) -> None:
    started = time.perf_counter()
    await nursery.start(broker.run)
    gc.freeze()
    gc.enable()
    addresses = ", ".join(str(endpoint) for endpoint in broker.endpoints)
    logger.info(
        "pybroker %s: broker %d of cluster %s serves %s (ready after %.0f ms)",
        __version__,
        broker.broker_id,
        broker.image.cluster_id,
        addresses,
        (time.perf_counter() - started) * 1000,
    )
