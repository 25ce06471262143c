"""The command line: ``pybroker serve``, ``pybroker metadata copy`` and ``pybroker --version``.

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

EXIT_CANNOT_START = 1
EXIT_BAD_CONFIGURATION = 2

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
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="One line of text, or one JSON object, per event; on standard error.",
)
def serve(properties: Path | None, overrides: tuple[str, ...], log_level: str, log_format: str) -> None:
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
        sys.exit(_serve(properties, overrides))
    finally:
        gc.enable()


def _serve(properties: Path | None, overrides: tuple[str, ...]) -> int:
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

    from pybroker import app
    from pybroker.model.errors import StartupError

    try:
        return app.serve(loaded.config)
    except StartupError as error:
        click.echo(f"pybroker: {error}", err=True)
        return EXIT_CANNOT_START


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


def configure_logging(level: str, log_format: str) -> None:
    """Sends every log record to standard error, as text in local time or as a JSON object in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import json
        from datetime import UTC, datetime

        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)
