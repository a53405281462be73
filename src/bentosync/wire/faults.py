"""Foreign exceptions of the wire, translated once: whatever ssl or the system raises becomes a `NetworkError`.

Those of aiohttp have a table of their own (`client_faults`), so that this one is had without importing it.

The message names the host and what happened; never the path or query, which may carry signatures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

from bentosync.errors import BentoMLException, InvalidArgument, NetworkError, UnknownHost


@contextlib.contextmanager
def translated(host: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn what the libraries raise while talking to `host` into our errors; `connecting`: no byte was sent yet."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise translate(error, host, connecting=connecting) from error


def translate(error: Exception, host: str, *, connecting: bool = False) -> BentoMLException:
    """The table, most special first."""
    match error:
        case ssl.SSLCertVerificationError():
            return untrusted(host, error)
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            plain = NetworkError(
                f"{host} does not speak TLS", hint="if it speaks plain http, write its endpoint as http://…"
            )
            plain.retryable = False
            return plain
        case ssl.SSLError():
            return NetworkError(f"TLS with {host} failed: {reason(error)}")
        case socket.gaierror(errno=socket.EAI_NONAME | socket.EAI_NODATA):
            return UnknownHost(
                f"The name {host} cannot be resolved: nobody is called so",
                hint="check endpoint, region and bucket of the remote",
            )
        case socket.gaierror():
            return NetworkError(f"The name {host} cannot be resolved", hint="check the endpoint and the network")
        case TimeoutError() if connecting:
            return NetworkError(f"Connecting to {host} took too long")
        case TimeoutError():
            return NetworkError(f"Nothing moved on the connection to {host} for too long")
        case OSError() if connecting:
            return NetworkError(f"Cannot connect to {host}: {reason(error)}", hint="check the endpoint and the network")
        case ValueError():
            return InvalidArgument(f"The address of {host} cannot be used: {reason(error)}")
        case _:
            return NetworkError(f"The connection to {host} broke: {reason(error)}")


def untrusted(host: str, error: Exception) -> NetworkError:
    """The certificate does not vouch for `host`; another try will not cure that."""
    refusal = NetworkError(
        f"The certificate of {host} is not trusted: {reason(error)}",
        hint="if its authority is your own, name it with ca_bundle",
    )
    refusal.retryable = False
    return refusal


def reason(error: Exception) -> str:
    """What went wrong, bounded and without control characters: parts of it may come from the other side."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    reason = (
        getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or getattr(inner, "message", None)
    )
    text = str(reason or type(inner).__name__)
    if isinstance(inner, OSError) and inner.errno and text.startswith("Connect call failed"):
        text = os.strerror(inner.errno)  # asyncio's words name a call and a tuple instead of the reason
    return "".join(character if character.isprintable() else " " for character in text)[:200]
