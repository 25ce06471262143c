"""Rebalance storms without end: members of both group protocols around one shard, in frozen broker time.

Run ``python -m interop.soak.rebalance_storms [--storms 200] [--first-seed 1] [--members 100] [--steps 200]``.
Each storm has a seed of its own; a run goes on where the last one ended with ``--first-seed``. What holds
after every step and at every stable point stands in ``tests/coordination/group/consumer/storm.py``. Ends with
1 and the seed of the first storm in which it did not hold.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.coordination.group.consumer.storm import blow

TABLE = Path(__file__).parent / "results" / "rebalance-storms.md"
HEADER = (
    "| storms | seeds | members | steps each | records | seconds | result |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--storms", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--partitions", type=int, default=120)
    options = parser.parse_args()
    started, records, done, result = time.perf_counter(), 0, 0, "held"
    for seed in range(options.first_seed, options.first_seed + options.storms):
        try:
            storm = blow(seed, options.members, options.steps, options.partitions)
        except AssertionError as broken:
            result = f"seed {seed}: {str(broken)[:200]}"
            break
        done, records = done + 1, records + len(storm.scene.log)
        print(f"seed {seed}: held, {len(storm.scene.log)} records, {done} storms so far", flush=True)
    seconds = time.perf_counter() - started
    seeds = f"{options.first_seed} to {options.first_seed + done - 1}"
    row = (
        f"| {done} | {seeds} | {options.members} | {options.steps} | {records} | {seconds:.0f} | {result} |\n"
    )
    TABLE.parent.mkdir(exist_ok=True)
    if not TABLE.exists():
        TABLE.write_text("# Rebalance storms\n\n" + HEADER)
    with TABLE.open("a") as table:
        table.write(row)
    print(HEADER + row)
    return 0 if result == "held" else 1


if __name__ == "__main__":
    sys.exit(main())
