"""Foreign exceptions of the wire, translated once: whatever aiohttp, ssl or the system raises becomes a `NetworkError`.

The message names the host and what happened; never the path or query, which may carry signatures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import aiohttp

from bentosync.errors import BentoMLException, InvalidArgument, NetworkError, RemoteError


@contextlib.contextmanager
def translated(host: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn what the libraries raise while talking to `host` into our errors; `connecting`: no byte was sent yet."""
    try:
        yield
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, ValueError) as error:
        raise translate(error, host, connecting=connecting) from error


def translate(error: Exception, host: str, *, connecting: bool = False) -> BentoMLException:
    """The table, most special first: aiohttp's classes inherit from each other in many ways."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return _final(
                NetworkError(
                    f"The certificate of {host} is not trusted: {_reason(error)}",
                    hint="if its authority is your own, name it with ca_bundle",
                )
            )
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return NetworkError(f"TLS with {host} failed: {_reason(error)}")
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return NetworkError(f"The name {host} cannot be resolved", hint="check the endpoint and the network")
        case aiohttp.ClientHttpProxyError():
            return NetworkError(
                f"The proxy refused a connection to {host}: status {error.status}",
                hint="check HTTPS_PROXY and NO_PROXY",
            )
        case aiohttp.ConnectionTimeoutError():
            return NetworkError(f"Connecting to {host} took too long")
        case TimeoutError() if connecting:
            return NetworkError(f"Connecting to {host} took too long")
        case TimeoutError():
            return NetworkError(f"Nothing moved on the connection to {host} for too long")
        case aiohttp.ClientConnectorError():
            return NetworkError(
                f"Cannot connect to {host}: {_reason(error)}", hint="check the endpoint and the network"
            )
        case aiohttp.ClientResponseError() | aiohttp.http.HttpProcessingError():
            return RemoteError(f"{host} sent a reply that is not HTTP: {_reason(error)}")
        case aiohttp.ClientPayloadError():
            return NetworkError(f"The reply of {host} ended early")
        case OSError() if connecting:
            return NetworkError(
                f"Cannot connect to {host}: {_reason(error)}", hint="check the endpoint and the network"
            )
        case aiohttp.InvalidURL() | ValueError():
            return InvalidArgument(f"The address of {host} cannot be used: {_reason(error)}")
        case _:
            return NetworkError(f"The connection to {host} broke: {_reason(error)}")


def _final(error: NetworkError) -> NetworkError:
    """The same error, marked as one that another try will not cure."""
    error.retryable = False
    return error


def _reason(error: Exception) -> str:
    """What went wrong, bounded and without control characters: parts of it may come from the other side."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    reason = (
        getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or getattr(inner, "message", None)
    )
    text = str(reason or type(inner).__name__)
    if isinstance(inner, OSError) and inner.errno and text.startswith("Connect call failed"):
        text = os.strerror(inner.errno)  # asyncio's words name a call and a tuple instead of the reason
    return "".join(character if character.isprintable() else " " for character in text)[:200]
