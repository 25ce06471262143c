"""Producer ids are unique, come in order from allocated blocks, and a block is asked for once."""

from collections.abc import Iterator

import trio

from pybroker.coordination.producer_ids import ProducerIds


async def test_ids_run_through_one_block_after_the_other() -> None:
    blocks: Iterator[range] = iter([range(3), range(1000, 1002)])

    async def allocate() -> range:
        await trio.lowlevel.checkpoint()
        return next(blocks)

    ids = ProducerIds(allocate)
    assert [await ids.next() for _ in range(5)] == [0, 1, 2, 1000, 1001]


async def test_producers_that_start_together_share_one_allocation() -> None:
    allocated = 0

    async def allocate() -> range:
        nonlocal allocated
        allocated += 1
        await trio.lowlevel.checkpoint()
        return range(100 * allocated, 100 * allocated + 100)

    ids = ProducerIds(allocate)
    given: list[int] = []

    async def producer() -> None:
        given.append(await ids.next())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(producer)
    assert allocated == 1
    assert sorted(given) == list(range(100, 120))
