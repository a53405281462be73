"""A server that speaks whatever bytes a test wants: truncated, stalled, reset, doubled, or plain wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Connection:
    """What a script may do with the client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces as separate writes."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def reply(self, body: bytes = b"", *, status: str = "200 OK", headers: str = "") -> None:
        """A well-formed reply."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        await self.send(head.encode() + body)

    def reset(self) -> None:
        """Close with RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed its side."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    async def request(self, *, body: bool = True) -> Received:
        """The next request."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        length = int(headers.get("content-length", "0")) if body else 0
        return Received(method, target, headers, await self.reader.readexactly(length))


Script = Callable[[Connection, Received], Awaitable[None]]


@dataclass
class RawServer:
    """Where it listens, what it was asked, how many connections were made, and how many are open now."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serve(
    script: Script, *, read_body: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Answer each request by `script`, connection after connection, until the block ends."""
    server = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        server.open += 1
        connection = Connection(reader, writer)
        try:
            while not writer.is_closing():
                received = await connection.request(body=read_body)
                server.requests.append(received)
                await script(connection, received)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            server.open -= 1
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
