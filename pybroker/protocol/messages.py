"""Every Kafka message as a class, made when ``from pybroker.protocol.messages import …`` first asks for it.

One class serves all versions of its message; the structures inside are its attributes, as in
``FetchResponse.PartitionData``. Fields are slots: a ``uuid`` is 16 raw bytes, ``bytes`` and ``records``
decode to slices of the input (memoryview), arrays are lists and null is None.
``messages.pyi`` tells a type checker the fields; ``python -m pybroker.protocol.stubs`` writes it.
"""

from pybroker.protocol.message_classes import Message, make_class
from pybroker.protocol.specs import find_message

__all__ = ["Message"]


def __getattr__(name: str) -> type[Message]:
    if name.startswith("__"):  # every import of a message asks for __path__
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        spec = find_message(name)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    message = make_class(spec)
    globals()[name] = message
    return message
