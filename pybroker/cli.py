"""The command line: ``pybroker serve``, ``health``, ``metadata copy`` and ``--version``.

Everything beyond click is imported by the command that needs it, because start-up time is part of the
product.
"""

import gc
import logging
import os
import sys
from pathlib import Path

import click

from pybroker import __version__
from pybroker.instruments.log_lines import FORMATS, configure_logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybroker.app.announcement import Announcement
    from pybroker.config.broker import BrokerConfig

EXIT_CANNOT_START = 1
EXIT_UNHEALTHY = 1
EXIT_BAD_CONFIGURATION = 2
ADDRESSES_VARIABLE = "PYBROKER_ADDRESSES_FILE"

logger = logging.getLogger("pybroker")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pybroker")
def main() -> None:
    """A Kafka broker in Python: stock Kafka clients and tools connect to it unchanged."""


@main.command()
@click.argument("properties", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--override",
    "-o",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set one key of the configuration; wins over the file and the environment. May be repeated.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="Least important messages to log.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="A line of text or a JSON object per event, on standard error; or Kafka's own layout and its words "
    "when it is ready, on standard output.",
)
@click.option(
    "--addresses-file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=ADDRESSES_VARIABLE,
    help="Write the listeners with their bound ports to this file when clients are served.",
)
def serve(
    properties: Path | None,
    overrides: tuple[str, ...],
    log_level: str,
    log_format: str,
    addresses_file: Path | None,
) -> None:
    """Run a broker until it is interrupted.

    PROPERTIES is a Kafka server.properties file. Without one, a single node serves 127.0.0.1:9092 and keeps
    its data in ./pybroker-data. KAFKA_* variables are read as the apache/kafka image reads them.

    \b
    Examples:
      pybroker serve
      pybroker serve --override listeners=PLAINTEXT://127.0.0.1:19092 --override log.dirs=/tmp/data
      pybroker serve server.properties --log-format json
    """
    configure_logging(log_level, log_format)
    gc.disable()  # imports make a hundred thousand objects that stay; the broker enables it when it is ready
    try:
        sys.exit(_serve(properties, overrides, addresses_file, in_kafkas_words=log_format == "kafka"))
    finally:
        gc.enable()


def _serve(
    properties: Path | None,
    overrides: tuple[str, ...],
    addresses_file: Path | None,
    *,
    in_kafkas_words: bool,
) -> int:
    from pybroker.config.loading import ConfigurationError, load_broker_config

    try:
        loaded = load_broker_config(properties, overrides, os.environ)
    except ConfigurationError as error:
        click.echo(f"pybroker: {error}", err=True)
        return EXIT_BAD_CONFIGURATION
    for line in loaded.warnings:
        logger.warning(line)
    for line in loaded.notices:
        logger.info(line)

    from pybroker.app.announcement import Announcement
    from pybroker.model.errors import StartupError

    try:
        announcement = Announcement(addresses_file, in_kafkas_words)
        return _server(loaded.config)(loaded.config, announcement)
    except StartupError as error:
        click.echo(f"pybroker: {error}", err=True)
        return EXIT_CANNOT_START


def _server(config: "BrokerConfig") -> "Callable[[BrokerConfig, Announcement], int]":
    """Who serves: a broker, or a cluster for tests where the configuration asks for what only that has."""
    if config.is_test_cluster:
        from pybroker.testing import serving

        return serving.serve
    from pybroker import app

    return app.serve


@main.command()
@click.argument("address", metavar="[HOST:PORT]", required=False)
@click.option(
    "--addresses-file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=ADDRESSES_VARIABLE,
    help="Ask the broker that writes this file (serve --addresses-file).",
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=3.0,
              show_default=True, metavar="SECONDS", help="How long to wait for the answer.")  # fmt: skip
def health(address: str | None, addresses_file: Path | None, timeout_s: float) -> None:
    """Ask a broker whether it serves clients; exit code 0 if it does, 1 if not.

    It is asked for its ApiVersions, at HOST:PORT, or where the file of addresses says, or at 127.0.0.1:9092.
    """
    from pybroker.health import Unhealthy, ask, first_address, split_address

    try:
        if address is not None:
            host, port = split_address(address)
        else:
            host, port = first_address(addresses_file) if addresses_file else ("127.0.0.1", 9092)
        ask(host, port, timeout_s)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    except Unhealthy as error:
        click.echo(f"pybroker: {error}", err=True)
        sys.exit(EXIT_UNHEALTHY)
    click.echo(f"{host}:{port} serves clients")


@main.group()
def metadata() -> None:
    """Work on a cluster's metadata while its brokers are stopped."""


@metadata.command()
@click.option("--from", "source", metavar="PLACE", required=True, help="Where the metadata is.")
@click.option("--to", "target", metavar="PLACE", required=True, help="Where it shall be.")
def copy(source: str, target: str) -> None:
    """Copy topics, ids, configurations and what else brokers know of their cluster to another store.

    A PLACE is embedded:LOG_DIR, the store of a single node in its (first) log directory, or
    zookeeper:HOST:PORT[,HOST:PORT...][/CHROOT]. Records and committed offsets are not in it: they stay in
    the log directories. All brokers must be stopped. The target must be empty or hold the same cluster,
    which is brought up to date.

    \b
    Example, from a single node to ZooKeeper:
      pybroker metadata copy --from embedded:/var/lib/pybroker --to zookeeper:localhost:2181/kafka
    """
    sys.exit(_copy_metadata(source, target))


def _copy_metadata(source: str, target: str) -> int:
    from contextlib import closing

    from pybroker.instruments.progress import ProgressLine
    from pybroker.metadata.copying import CopyRefused, copy, open_place
    from pybroker.metadata.store import StoreError

    shown = ProgressLine("copying", "nodes")
    try:
        with closing(open_place(source)) as read_from, closing(open_place(target, create=True)) as write_to:
            cluster_id, changes = copy(read_from, write_to, shown.update)
    except (CopyRefused, StoreError, OSError) as error:
        click.echo(f"pybroker: nothing more is copied: {error}", err=True)
        return EXIT_CANNOT_START
    finally:
        shown.finish()
    click.echo(f"cluster {cluster_id}: {changes} changes made in {target}")
    return 0
