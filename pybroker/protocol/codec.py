"""Bytes to messages and back, with code generated when a version of a message is first used (1 to 2 ms), and
kept for later processes.

Importing this costs nothing: construct and the generators are imported with the first message whose code was
not kept.
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from pybroker.protocol import kept
from pybroker.protocol.errors import MalformedMessage, UnencodableMessage, UnsupportedVersion
from pybroker.protocol.message_classes import Message
from pybroker.protocol.wire import NAMES

__all__ = [
    "MalformedMessage",
    "UnencodableMessage",
    "UnsupportedVersion",
    "decode",
    "decode_exactly",
    "decoder",
    "encode",
    "encode_parts",
    "encoder",
    "import_generators",
    "is_kept",
    "parts_encoder",
]

M = TypeVar("M", bound=Message)
Buffer = bytes | bytearray | memoryview

_decoders: dict[tuple[type[Any], int], Callable[..., tuple[Any, int]]] = {}
_encoders: dict[tuple[type[Any], int], tuple[Callable[[Any], bytes], Callable[[Any], list[Any]]]] = {}


_GENERATORS = ("primitives", "schema", "generate_decoder", "generate_encoder")


def import_generators() -> Iterator[None]:
    """Import what makes codecs, one module in a step: for those who must not make others wait for all of it,
    some 15 ms."""
    for module in _GENERATORS:
        import_module(f"pybroker.protocol.{module}")
        yield


def is_kept(message: type[Message], version: int) -> bool:
    """Whether :func:`decoder` can do without the generators, as an earlier process has kept its code."""
    return kept.load(_name(message, version, "decoder"), _made_of(message)) is not None


def decoder(message: type[M], version: int) -> Callable[..., tuple[M, int]]:
    """The generated function ``(buffer, position=0) -> (message, end position)``.

    It raises :class:`MalformedMessage`. ``bytes`` and ``records`` fields are slices of the buffer.

    Raises:
        UnsupportedVersion: the message has no such version.
    """
    found = _decoders.get((message, version))
    if found is None:
        found = _functions(message, version, "decoder", _decoder_source)["decode"]
        _decoders[message, version] = found
    return found


def encoder(message: type[M], version: int) -> Callable[[M], bytes]:
    """The generated function ``message -> bytes``.

    It raises :class:`UnsupportedVersion` when a field that the version lacks holds something that must not be
    dropped, :class:`UnencodableMessage` when a value does not fit its wire type.

    Raises:
        UnsupportedVersion: the message has no such version.
    """
    return _encoders_of(message, version)[0]


def parts_encoder(message: type[M], version: int) -> Callable[[M], list[Any]]:
    """The generated function ``message -> parts``, as :func:`encode_parts`; errors as :func:`encoder`."""
    return _encoders_of(message, version)[1]


def _encoders_of(
    message: type[Any], version: int
) -> tuple[Callable[[Any], bytes], Callable[[Any], list[Any]]]:
    found = _encoders.get((message, version))
    if found is None:
        functions = _functions(message, version, "encoder", _encoder_source)
        found = functions["encode"], functions["encode_parts"]
        _encoders[message, version] = found
    return found


def _functions(
    message: type[Any], version: int, kind: str, source: Callable[[type[Any], int, str], str]
) -> dict[str, Any]:
    """The globals of a codec, its functions among them: of kept code, or of new code, which is kept."""
    name = _name(message, version, kind)
    made_of = _made_of(message)
    code = kept.load(name, made_of)
    if code is None:
        title = f"{message.__name__} v{version}"
        code = compile(source(message, version, title), f"<{kind} of {title}>", "exec")
        kept.keep(name, made_of, code)
    functions = {**NAMES, "M": message}
    exec(code, functions)
    return functions


def _name(message: type[Any], version: int, kind: str) -> str:
    return f"{message.__name__}-{version}-{kind}"


def _made_of(message: type[Message]) -> str:
    return f"{_generators()} {message.__spec__}"


@cache
def _generators() -> str:
    return kept.modules("wire", "source", *_GENERATORS)


def _decoder_source(message: type[Any], version: int, title: str) -> str:
    from pybroker.protocol.generate_decoder import decoder_source
    from pybroker.protocol.schema import message_structure

    whole = message.__name__.endswith(("Request", "Response"))
    return decoder_source(message_structure(message, version), title, whole=whole)


def _encoder_source(message: type[Any], version: int, title: str) -> str:
    from pybroker.protocol.generate_encoder import encoder_source
    from pybroker.protocol.schema import message_structure

    return encoder_source(message_structure(message, version), title)


def decode(message: type[M], version: int, buffer: Buffer, position: int = 0) -> tuple[M, int]:
    """The message that starts at ``position``, and the position after it.

    Raises:
        MalformedMessage: the bytes are no such message.
        UnsupportedVersion: the message has no such version.
    """
    return decoder(message, version)(buffer, position)


def decode_exactly(message: type[M], version: int, buffer: Buffer, position: int = 0) -> M:
    """As :func:`decode`, when the message must end where the buffer ends."""
    decoded, end = decoder(message, version)(buffer, position)
    if end != len(buffer):
        raise MalformedMessage(f"{message.__name__} v{version}: {len(buffer) - end} bytes after its end")
    return decoded


def encode(message: Message, version: int) -> bytes:
    """The message in one piece. Errors as :func:`encoder`."""
    return _encoders_of(type(message), version)[0](message)


def encode_parts(message: Message, version: int) -> list[Any]:
    """The message in pieces to be sent one after the other; what they are lengths of adds up to its size.

    A ``records`` field may hold any object with a length, such as a slice of a file: what is not bytes, or is
    4 KB or more, is passed through as a piece of its own; all else is joined. Errors as :func:`encoder`.
    """
    return _encoders_of(type(message), version)[1](message)
