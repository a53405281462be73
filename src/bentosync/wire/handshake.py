"""TLS over a connected socket, by OpenSSL on the socket itself: no memory buffers in between."""

from __future__ import annotations

import asyncio
import socket
import ssl


async def secured(plain: socket.socket, trust: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """A non-blocking TLS socket in place of `plain`, once `host` has proven who it is. The caller bounds the time.

    Raises:
        ssl.SSLError: The certificate is not trusted, or the other side speaks no TLS; `plain` is closed.
        OSError: The connection broke.
    """
    try:
        secure = trust.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        while not await _stepped(secure):
            pass
    except BaseException:
        secure.close()
        raise
    return secure


async def _stepped(secure: ssl.SSLSocket) -> bool:
    """Go on with the handshake until it is done, or until the socket is ready for the next step."""
    loop = asyncio.get_running_loop()
    fd = secure.fileno()
    ready: asyncio.Future[None] = loop.create_future()
    try:
        secure.do_handshake()
        return True
    except ssl.SSLWantReadError:
        loop.add_reader(fd, _tell, ready)
        forget = loop.remove_reader
    except ssl.SSLWantWriteError:
        loop.add_writer(fd, _tell, ready)
        forget = loop.remove_writer
    try:
        await ready
    finally:
        forget(fd)
    return False


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
