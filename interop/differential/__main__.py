"""`python -m interop.differential [--apis 0,Fetch…] [--quick] [--json FILE]`: exit 0 when nothing differs."""

import argparse
import sys
from pathlib import Path

from interop.differential.report import details, reasons, table, write_json
from interop.differential.run import both_servers, compare
from pybroker.protocol.apis import api_by_key


def _keys(text: str) -> frozenset[int]:
    """API keys from numbers or names, separated by commas."""
    by_name = {api.name.lower(): key for key, api in api_by_key.items()}
    parts = [part.strip().lower() for part in text.split(",")]
    return frozenset(int(part) if part.isdigit() else by_name[part] for part in parts)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m interop.differential", description="Apache Kafka 3.9 and pybroker, asked the same."
    )
    parser.add_argument("--apis", type=_keys, help="keys or names of APIs, separated by commas (all)")
    parser.add_argument("--quick", action="store_true", help="a few mutations of each request only")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    options = parser.parse_args(arguments)
    with both_servers() as (apache, pybroker):
        tally = compare(apache, pybroker, options.apis, quick=options.quick)
    print(f"{details(tally)}\n\n{reasons(tally)}\n\n{table(tally)}")
    if options.json:
        write_json(tally, options.json)
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
