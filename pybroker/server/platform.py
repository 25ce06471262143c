"""Which of the operating system's extras the server uses: chosen once at start, everything has a fallback.

Linux has them all. ``PYBROKER_FORCE_FALLBACKS=1`` in the environment makes a Linux machine behave like one
that has none, so that the suite can run through the portable paths.
"""

import os
import socket
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pybroker.model.values import Value

FORCE_FALLBACKS = "PYBROKER_FORCE_FALLBACKS"

SendFile: TypeAlias = Callable[[int, int, int, int], int]


class Platform(Value):
    """The calls to use.

    Attributes:
        sendfile: ``os.sendfile`` from file to socket, or None: read and send.
        more_flag: the send flag that says "more follows at once"; 0 where there is none.
        has_low_watermark: whether a socket can be told to wake up only for many bytes (SO_RCVLOWAT).
    """

    sendfile: SendFile | None
    more_flag: int
    has_low_watermark: bool


def choose_platform(environ: Mapping[str, str] = os.environ) -> Platform:
    """What this machine offers, or only what every machine offers when the environment says so."""
    linux = hasattr(socket, "MSG_MORE") and hasattr(os, "sendfile")
    if not linux or environ.get(FORCE_FALLBACKS, "") not in ("", "0"):
        return PORTABLE
    return Platform(os.sendfile, socket.MSG_MORE, has_low_watermark=True)


PORTABLE = Platform(None, 0, has_low_watermark=False)
