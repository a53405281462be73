"""What aiohttp raises, in our words. Its classes inherit from each other in many ways, so the order matters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import aiohttp

from bentosync.errors import BentoMLException, InvalidArgument, NetworkError, RemoteError
from bentosync.wire import faults
from bentosync.wire.faults import reason


@contextlib.contextmanager
def translated(host: str) -> Iterator[None]:
    """Turn what aiohttp and what is below it raise while talking to `host` into our errors."""
    try:
        yield
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, ValueError) as error:
        raise _translate(error, host) from error


def _translate(error: Exception, host: str) -> BentoMLException:
    """The table, most special first."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return faults.untrusted(host, error)
        case aiohttp.ClientConnectorSSLError():
            return faults.translate(error.os_error, host)
        case aiohttp.ClientConnectorDNSError() if error.host != host.partition(":")[0]:
            return NetworkError(
                f"The proxy {error.host} cannot be resolved", hint="check HTTPS_PROXY, NO_PROXY and the network"
            )
        case aiohttp.ClientConnectorDNSError():
            return faults.translate(error.os_error, host)
        case aiohttp.ClientHttpProxyError():
            return NetworkError(
                f"The proxy refused a connection to {host}: status {error.status}",
                hint="check HTTPS_PROXY and NO_PROXY",
            )
        case aiohttp.ConnectionTimeoutError():
            return NetworkError(f"Connecting to {host} took too long")
        case aiohttp.ServerTimeoutError():
            return faults.translate(TimeoutError(), host)
        case aiohttp.ClientConnectorError():
            return NetworkError(f"Cannot connect to {host}: {reason(error)}", hint="check the endpoint and the network")
        case aiohttp.ClientResponseError() | aiohttp.http.HttpProcessingError():
            return RemoteError(f"{host} sent a reply that is not HTTP: {reason(error)}")
        case aiohttp.ClientPayloadError():
            return NetworkError(f"The reply of {host} ended early")
        case aiohttp.InvalidURL():
            return InvalidArgument(f"The address of {host} cannot be used: {reason(error)}")
        case _:
            return faults.translate(error, host)
