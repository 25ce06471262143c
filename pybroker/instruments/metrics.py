"""Plain counters of what the server does. Reading and exporting them is someone else's business."""

HIGHEST_API_KEY = 127


class ServerMetrics:
    """Counters since start-up; only the trio thread writes them. Sizes are bytes."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connections",
        "connections_accepted",
        "connections_rejected",
        "frames_refused",
        "handler_failures",
        "requests",
    )

    def __init__(self) -> None:
        self.requests = [0] * (HIGHEST_API_KEY + 1)
        """Requests that reached a handler, by API key."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.connections = 0
        """Connections open now."""
        self.connections_accepted = 0
        self.connections_rejected = 0
        """Connections closed at once because a limit was reached."""
        self.frames_refused = 0
        """Frames that could not be read or were not served; each closed its connection."""
        self.handler_failures = 0
        """Requests answered with UNKNOWN_SERVER_ERROR because of a bug."""

    def requests_by_api(self) -> dict[int, int]:
        """The APIs that were called at least once, with how often."""
        return {key: count for key, count in enumerate(self.requests) if count}
