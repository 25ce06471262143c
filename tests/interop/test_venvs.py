"""The harness starts in the venvs of older clients, which have little beside their own client."""

import subprocess
import sys

from interop.support.venvs import HARNESS

CLIENTS = ("aiokafka", "confluent_kafka", "kafka", "trio", "construct")

PROGRAM = f"""
import sys
for name in {CLIENTS}:
    sys.modules[name] = None
import interop.__main__
import interop.conftest
"""


def test_the_harness_is_imported_without_any_client() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not {name.partition(">")[0].replace("-", "_") for name in HARNESS} & set(CLIENTS)
