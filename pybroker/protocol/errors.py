"""What can go wrong between bytes and messages. Free of construct, so that every room can import it."""


class MalformedMessage(ValueError):
    """The bytes are no such message: cut short, a count that lies, bad UTF-8, bytes after the end."""


class UnsupportedVersion(ValueError):
    """The message has no such version, or holds a value that this version cannot carry and must not drop."""


class UnencodableMessage(ValueError):
    """A field holds what its wire type cannot express: null where it is not allowed, a number out of range.
    A bug of the sender, never of the bytes."""
