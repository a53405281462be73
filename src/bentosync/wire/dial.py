"""A TCP connection to a name: its addresses one after the other.

asyncio can race the addresses of a name (`happy_eyeballs_delay`), but loses a connected socket when it is cancelled at
the wrong moment, and a failed transfer cancels all its workers at once. Here every address gets a short chance first,
so that one of a kind that leads nowhere costs a second, and then as much time as the caller allows.
"""

from __future__ import annotations

import asyncio
import socket

_FIRST_TRY_SECONDS = 1.0


async def dial(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket. The caller bounds the time.

    Raises:
        OSError: No address answers; the error of the last one tried.
    """
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError(f"{host} has no address")
    for patience_seconds in (_FIRST_TRY_SECONDS, None):
        for family, kind, protocol, _, address in addresses:
            try:
                async with asyncio.timeout(patience_seconds):
                    return await _connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
        if not isinstance(failure, TimeoutError):
            break  # It was refused, and would be again.
    raise failure


async def _connected(opened: socket.socket, address: object) -> socket.socket:
    try:
        opened.setblocking(False)
        # A head must not wait for the acknowledgement of what was sent before it.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, address)  # type: ignore[arg-type]
    except BaseException:
        opened.close()
        raise
    return opened
