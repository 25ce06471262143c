"""`python -m interop [--quick] [--server pybroker|apache] [--json FILE] [names...] [-- pytest options]`."""

import argparse
import os
import sys
from pathlib import Path

import pytest

from interop.support.servers import SERVERS

FOLDER = Path(__file__).resolve().parent


def ecosystems() -> list[str]:
    """The folders that hold clients."""
    return sorted({path.parent.name for path in FOLDER.glob("*/test_*.py")})


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what stands after `--` for pytest."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m interop", description="Real clients against a real server."
    )
    parser.add_argument(
        "names", nargs="*", help=f"ecosystems ({', '.join(ecosystems())}) or words of test names"
    )
    parser.add_argument("--quick", action="store_true", help="the part that runs in CI")
    parser.add_argument("--server", choices=sorted(SERVERS), default="pybroker")
    parser.add_argument("--json", type=Path, help="write the matrix to this file")
    return parser.parse_args(arguments[:end]), arguments[end + 1 :]


def main(arguments: list[str]) -> int:
    options, pytest_options = parse(arguments)
    folders = [name for name in options.names if name in ecosystems()]
    words = [name for name in options.names if name not in ecosystems()]
    command = ["-c", str(FOLDER / "pytest.ini"), f"--rootdir={FOLDER}", "--server", options.server]
    command += ["--quick"] if options.quick else []
    command += ["--json", str(options.json.resolve())] if options.json else []
    command += ["-k", " or ".join(words)] if words else []
    command += pytest_options
    command += [str(FOLDER / name) for name in folders or ecosystems()]
    # Plugins that this suite does not use would only read its options differently.
    os.environ.setdefault("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return int(pytest.main([*command, "-p", "pytest_timeout"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
