"""`python -m interop.soak KIND [options]`: the long forms of what the test suite does briefly.

Each kind is a module of this package with options of its own (`KIND --help`); a run prints its progress and
ends with a table of results that names its seed.
"""

import subprocess
import sys

KINDS = {
    "mutated-frames": "interop.soak.mutated_frames",
    "many-partitions": "interop.soak.many_partitions",
    "cluster-chaos": "interop.soak.cluster_chaos",
    "rebalance-storms": "interop.soak.rebalance_storms",
    "exactly-once": "interop.soak.exactly_once",
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in KINDS:
        print(f"which kind? one of: {', '.join(KINDS)}", file=sys.stderr)
        return 2
    return subprocess.run([sys.executable, "-m", KINDS[arguments[0]], *arguments[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
