"""What an earlier start made of the specs, kept as Python keeps bytecode: in ``__pycache__``, or where
``sys.pycache_prefix`` says, and not when ``sys.dont_write_bytecode`` forbids it.

Code of codecs, tables of spec files, versions of APIs: with them a start needs no construct, no generators
and no TOML for the messages with which clients begin, a tenth of its time. Whoever asks says of what the
thing is made; what was made of something else does not count.
"""

import contextlib
import hashlib
import marshal
import os
import sys
from typing import Any, Final

_HERE: Final = os.path.dirname(__file__)  # noqa: PTH120


def load(name: str, made_of: str) -> Any:
    """What was kept under a name, if it was made of this very text; None if nothing was."""
    try:
        with open(_place(name), "rb") as file:
            data = file.read()
        digest = _digest(made_of)
        return marshal.loads(data[len(digest) :]) if data.startswith(digest) else None
    except (OSError, EOFError, ValueError, TypeError):
        return None  # not kept, or damaged: as good as not kept


def keep(name: str, made_of: str, value: Any) -> None:
    """Keeps code or plain data, in one piece or not at all; that it cannot be written is no error."""
    if sys.dont_write_bytecode:
        return
    place = _place(name)
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
        temporary = f"{place}.{os.getpid()}"
        with open(temporary, "wb") as file:
            file.write(_digest(made_of) + marshal.dumps(value))
        os.replace(temporary, place)  # noqa: PTH105


def files(*paths: str) -> str:
    """Names, sizes and times of the last change: of what is made of whole files.

    Raises:
        OSError: one is not there.
    """
    found = ((path, os.stat(path)) for path in paths)
    return " ".join(f"{path} {one.st_size} {one.st_mtime_ns}" for path, one in found)


def modules(*names: str) -> str:
    """The same of modules of this package."""
    return files(*(f"{_HERE}/{name}.py" for name in names))


def _place(name: str) -> str:
    folder = f"{sys.pycache_prefix}{_HERE}" if sys.pycache_prefix else f"{_HERE}/__pycache__"
    return f"{folder}/{name}.{sys.implementation.cache_tag}.kept"


def _digest(made_of: str) -> bytes:
    return hashlib.sha256(made_of.encode()).digest()
