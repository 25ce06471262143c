"""`python -m interop [--quick] [--server pybroker|apache] [--json FILE] [names...] [-- pytest options]`."""

import argparse
import os
import signal
import sys
from pathlib import Path

import pytest

from interop.support import venvs
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
    folders = [name for name in options.names if name in ecosystems()] or ecosystems()
    words = [name for name in options.names if name not in ecosystems()]
    passed_on = ["--server", options.server, *(["--quick"] if options.quick else [])]
    command = ["-c", str(FOLDER / "pytest.ini"), f"--rootdir={FOLDER}", *passed_on]
    command += ["--json", str(options.json.resolve())] if options.json else []
    command += ["-k", " or ".join(words)] if words else []
    command += pytest_options
    # Plugins that this suite does not use would only read its options differently.
    os.environ.setdefault("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    # An interrupt unwinds the fixtures, which end the servers; the default of SIGTERM would leave them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    codes = [int(pytest.main([*command, *(str(FOLDER / name) for name in folders), "-p", "pytest_timeout"]))]
    if not options.quick and not venvs.is_inside():
        further = [*words, *passed_on, *(["--", *pytest_options] if pytest_options else [])]
        codes += [run_other(name, folders, further, options.json) for name in venvs.OTHER_VERSIONS]
    # No test selected is a failure only when nothing was selected anywhere.
    run = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    return max(run, default=int(pytest.ExitCode.NO_TESTS_COLLECTED))


def run_other(name: str, folders: list[str], arguments: list[str], report: Path | None) -> int:
    """One client in another version, if its ecosystem is selected; its report stands beside the first."""
    if venvs.OTHER_VERSIONS[name].folder not in folders:
        return 0
    print(f"\n=== {name}", flush=True)
    more = ["--json", str(report.resolve().with_suffix(f".{name}.json"))] if report else []
    return venvs.run(name, [*more, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
