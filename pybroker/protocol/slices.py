"""Responses that hold open files: record data that is sent from where it lies."""

from typing import Any

from pybroker.protocol.message_classes import Message


def release_slices(message: Any) -> None:
    """Lets go of every file that a response which will not be sent still holds."""
    if isinstance(message, (list, tuple)):
        for item in message:
            release_slices(item)
    elif isinstance(message, Message):
        for name in message.__slots__:
            release_slices(getattr(message, name))
    elif hasattr(message, "fileno"):
        message.release()
