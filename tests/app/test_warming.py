"""A start imports little, and what it leaves is imported in the background."""

import subprocess
import sys
from pathlib import Path

import trio

from pybroker.app.warming import FOR_CODECS, LATE, warm
from pybroker.handlers.api_versions import ApiVersions
from pybroker.handlers.routes import Route
from pybroker.protocol.apis import api_by_key

START = """
import sys
import trio
from pybroker.app import broker, warming
from pybroker.config.loading import load_broker_config

async def nothing(_routes):
    pass

async def start():
    broker.warm = nothing
    settings = ("listeners=PLAINTEXT://127.0.0.1:0", f"log.dirs={sys.argv[1]}")
    made = broker.Broker(load_broker_config(None, settings, {}).config)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        print(*sys.modules)
        await made.stop()

trio.run(start)
"""
OF_OTHERS = ("pickle", "pdb", "email.message", "importlib.metadata", "concurrent.futures.thread")
"""Modules of the standard library that another library may need one day."""


def test_a_node_without_partitions_starts_without_what_is_late(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path)], check=True, capture_output=True, text=True
    )
    loaded = set(ran.stdout.split())
    assert "pybroker.app.broker" in loaded
    assert loaded & ({*FOR_CODECS, *LATE} - set(OF_OTHERS)) == set()


async def test_warming_imports_all_of_it_and_lets_others_go_on_between() -> None:
    handler = ApiVersions(lambda: (), lambda: None)  # type: ignore[arg-type, return-value]
    routes = {key: Route(key, 0, 0, handler) for key in api_by_key}
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await warm(routes)
        nursery.cancel_scope.cancel()
    assert {*FOR_CODECS, *LATE} <= sys.modules.keys()
    assert turns >= len(LATE)
