"""The garbage collector, and what it need not look at."""

import gc
from typing import Final

_YOUNG: Final = 1


def set_aside() -> None:
    """Put all that there is where the collector never looks again: its walk through much that stays takes
    100 ms and more at a time, and nobody is served meanwhile.

    What is set aside is freed like anything else when nobody refers to it, unless it is part of a cycle. Call
    it where much was made that stays and has none.
    """
    gc.collect(_YOUNG)
    gc.freeze()
