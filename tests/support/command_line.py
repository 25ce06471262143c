"""The command line in the process of the test."""

from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from pybroker.cli import main
from pybroker.model.values import Value


class Done(Value):
    """What a command came to, and what it wrote."""

    exit_code: int
    output: str
    errors: str


def run(arguments: Sequence[str]) -> Done:
    """As ``pybroker ARGUMENTS``."""
    output, errors = StringIO(), StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            exit_code = main(arguments)
        except SystemExit as stopped:
            exit_code = stopped.code if isinstance(stopped.code, int) else 1
    return Done(exit_code, output.getvalue(), errors.getvalue())
