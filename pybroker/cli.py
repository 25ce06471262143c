"""The command line: ``pybroker serve``, ``health``, ``metadata copy`` and ``--version``.

Everything beyond argparse is imported by the command that needs it, because start-up time is part of the
product; it is also why this is argparse, the quickest to import.
"""

import argparse
import gc
import logging
import math
import os
import sys
from pathlib import Path

from pybroker import __version__
from pybroker.instruments.log_lines import FORMATS, configure_logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybroker.app.announcement import Announcement
    from pybroker.config.broker import BrokerConfig

EXIT_CANNOT_START = 1
EXIT_UNHEALTHY = 1
EXIT_BAD_CONFIGURATION = 2
EXIT_INTERRUPTED = 130
ADDRESSES_VARIABLE = "PYBROKER_ADDRESSES_FILE"
LEVELS = ("debug", "info", "warning", "error")

_SERVE = """\
Run a broker until it is interrupted.

PROPERTIES is a Kafka server.properties file. Without one, a single node serves 127.0.0.1:9092 and keeps
its data in ./pybroker-data. KAFKA_* variables are read as the apache/kafka image reads them.

examples:
  pybroker serve
  pybroker serve --override listeners=PLAINTEXT://127.0.0.1:19092 --override log.dirs=/tmp/data
  pybroker serve server.properties --log-format json
"""
_HEALTH = """\
Ask a broker whether it serves clients; exit code 0 if it does, 1 if not.

It is asked for its ApiVersions, at HOST:PORT, or where the file of addresses says, or at 127.0.0.1:9092.
"""
_COPY = """\
Copy topics, ids, configurations and what else brokers know of their cluster to another store.

A PLACE is embedded:LOG_DIR, the store of a single node in its (first) log directory, or
zookeeper:HOST:PORT[,HOST:PORT...][/CHROOT]. Records and committed offsets are not in it: they stay in
the log directories. All brokers must be stopped. The target must be empty or hold the same cluster,
which is brought up to date.

example, from a single node to ZooKeeper:
  pybroker metadata copy --from embedded:/var/lib/pybroker --to zookeeper:localhost:2181/kafka
"""

logger = logging.getLogger("pybroker")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the texts are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=110)


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Does what the command line says, by default that of the process; the exit code.

    Raises:
        SystemExit: the command line is wrong (2), or asked for help or the version (0).
    """
    asked, unknown = _parser().parse_known_args(arguments)
    if unknown:
        asked.parser.error(f"unknown: {' '.join(unknown)}")
    command: Callable[[argparse.Namespace], int] = asked.command
    try:
        return command(asked)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pybroker",
        description="A Kafka broker in Python: stock Kafka clients and tools connect to it unchanged.",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pybroker, version {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_health(commands)
    _add_metadata(commands)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    command: "Callable[[argparse.Namespace], int]",
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text.partition("\n")[0],
        description=text,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = _command(commands, "serve", _SERVE, _serve)
    serve.add_argument("properties", nargs="?", type=_file, metavar="PROPERTIES")
    serve.add_argument(
        "-o",
        "--override",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set one key of the configuration; wins over the file and the environment; may be repeated",
    )
    serve.add_argument(
        "--log-level",
        type=str.lower,
        choices=LEVELS,
        default="info",
        help="least important messages to log (default: %(default)s)",
    )
    serve.add_argument(
        "--log-format",
        choices=FORMATS,
        default="text",
        help="a line of text or a JSON object per event, on standard error; or Kafka's own layout and its "
        "words when it is ready, on standard output (default: %(default)s)",
    )
    _add_addresses_file(
        serve, "write the listeners with their bound ports to this file when clients are served"
    )


def _add_health(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    health = _command(commands, "health", _HEALTH, _health)
    health.add_argument("address", nargs="?", metavar="HOST:PORT")
    _add_addresses_file(health, "ask the broker that writes this file (serve --addresses-file)")
    health.add_argument(
        "--timeout",
        type=_positive_seconds,
        default=3.0,
        metavar="SECONDS",
        help="how long to wait for the answer (default: %(default)s)",
    )


def _add_metadata(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "Work on a cluster's metadata while its brokers are stopped."
    metadata = commands.add_parser(
        "metadata", help=about, description=about, formatter_class=_HelpFormatter, allow_abbrev=False
    )
    copy = _command(metadata.add_subparsers(metavar="COMMAND", required=True), "copy", _COPY, _copy)
    copy.add_argument("--from", dest="source", metavar="PLACE", required=True, help="where the metadata is")
    copy.add_argument("--to", dest="target", metavar="PLACE", required=True, help="where it shall be")


def _add_addresses_file(parser: argparse.ArgumentParser, use: str) -> None:
    variable = os.environ.get(ADDRESSES_VARIABLE)
    parser.add_argument(
        "--addresses-file",
        type=_file,
        default=variable or None,
        metavar="FILE",
        help=f"{use} (default: ${ADDRESSES_VARIABLE})",
    )


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a directory")
    return path


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return seconds


def _serve(asked: argparse.Namespace) -> int:
    configure_logging(asked.log_level, asked.log_format)
    gc.disable()  # imports make a hundred thousand objects that stay; the broker enables it when it is ready
    try:
        return _configure_and_serve(asked)
    finally:
        gc.enable()


def _configure_and_serve(asked: argparse.Namespace) -> int:
    from pybroker.config.loading import ConfigurationError, load_broker_config

    try:
        loaded = load_broker_config(asked.properties, asked.overrides, os.environ)
    except ConfigurationError as error:
        return _fail(str(error), EXIT_BAD_CONFIGURATION)
    for line in loaded.warnings:
        logger.warning(line)
    for line in loaded.notices:
        logger.info(line)

    from pybroker.app.announcement import Announcement
    from pybroker.model.errors import StartupError

    try:
        announcement = Announcement(asked.addresses_file, asked.log_format == "kafka")
        return _server(loaded.config)(loaded.config, announcement)
    except StartupError as error:
        return _fail(str(error), EXIT_CANNOT_START)


def _server(config: "BrokerConfig") -> "Callable[[BrokerConfig, Announcement], int]":
    """Who serves: a broker, or a cluster for tests where the configuration asks for what only that has."""
    if config.is_test_cluster:
        from pybroker.testing import serving

        return serving.serve
    from pybroker import app

    return app.serve


def _health(asked: argparse.Namespace) -> int:
    from pybroker.health import Unhealthy, ask, first_address, split_address

    try:
        if asked.address is not None:
            host, port = split_address(asked.address)
        elif asked.addresses_file is not None:
            host, port = first_address(asked.addresses_file)
        else:
            host, port = "127.0.0.1", 9092
        ask(host, port, asked.timeout)
    except ValueError as error:
        asked.parser.error(str(error))
    except Unhealthy as error:
        return _fail(str(error), EXIT_UNHEALTHY)
    print(f"{host}:{port} serves clients")
    return 0


def _copy(asked: argparse.Namespace) -> int:
    from contextlib import closing

    from pybroker.instruments.progress import ProgressLine
    from pybroker.metadata.copying import CopyRefused, copy, open_place
    from pybroker.metadata.store import StoreError

    shown = ProgressLine("copying", "nodes")
    try:
        with (
            closing(open_place(asked.source)) as read_from,
            closing(open_place(asked.target, create=True)) as write_to,
        ):
            cluster_id, changes = copy(read_from, write_to, shown.update)
    except (CopyRefused, StoreError, OSError) as error:
        return _fail(f"nothing more is copied: {error}", EXIT_CANNOT_START)
    finally:
        shown.finish()
    print(f"cluster {cluster_id}: {changes} changes made in {asked.target}")
    return 0


def _fail(why: str, exit_code: int) -> int:
    print(f"pybroker: {why}", file=sys.stderr)
    return exit_code
