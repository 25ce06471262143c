"""What a handler knows about the request it serves, and about the connection that brought it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybroker.model.endpoint import SecurityProtocol

if TYPE_CHECKING:
    from pybroker.metadata.image import ClusterImage

ANONYMOUS = "User:ANONYMOUS"


class ConnectionState:
    """What is known about one connection. Its writer is the connection's own task, through handlers.

    Attributes:
        connection_id: ``local address-remote address-number``, unique within a run, as Kafka writes it.
        listener: the name of the listener, for instance ``PLAINTEXT``.
        principal: ``User:name``; ``User:ANONYMOUS`` until a client has authenticated.
        is_authenticated: whether all APIs may be called; False on SASL listeners until the exchange is over.
        max_frame_bytes: the largest request accepted from now on.
        software_name, software_version: what the client calls itself (KIP-511); empty until it says so.
    """

    __slots__ = (
        "client_host",
        "client_port",
        "connection_id",
        "is_authenticated",
        "listener",
        "max_frame_bytes",
        "principal",
        "security_protocol",
        "software_name",
        "software_version",
    )

    def __init__(
        self,
        *,
        connection_id: str,
        listener: str,
        security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT,
        client_host: str = "",
        client_port: int = 0,
        principal: str = ANONYMOUS,
        is_authenticated: bool = True,
        max_frame_bytes: int = 104857600,
    ) -> None:
        self.connection_id = connection_id
        self.listener = listener
        self.security_protocol = security_protocol
        self.client_host = client_host
        self.client_port = client_port
        self.principal = principal
        self.is_authenticated = is_authenticated
        self.max_frame_bytes = max_frame_bytes
        self.software_name = ""
        self.software_version = ""


class RequestContext:
    """One request as its handler sees it. It lives no longer than the request.

    Attributes:
        image: the cluster as it was when the request arrived; a handler never takes a second look.
        connection: the state of the connection, shared by all its requests.
    """

    __slots__ = ("api_key", "api_version", "client_id", "connection", "correlation_id", "image")

    def __init__(
        self,
        api_key: int,
        api_version: int,
        correlation_id: int,
        client_id: str | None,
        connection: ConnectionState,
        image: ClusterImage,
    ) -> None:
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.connection = connection
        self.image = image

    @property
    def principal(self) -> str:
        return self.connection.principal

    @property
    def client_host(self) -> str:
        return self.connection.client_host

    @property
    def listener(self) -> str:
        return self.connection.listener

    @property
    def connection_id(self) -> str:
        return self.connection.connection_id
