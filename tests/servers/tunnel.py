"""An HTTP proxy for https: it answers CONNECT and then moves bytes, whatever host was asked for, to one local port."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tunnels:
    """What was asked of the proxy: request heads as they came, and bytes from the client (`up`) and to it (`down`)."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    up: int = 0
    down: int = 0


@contextlib.contextmanager
def tunnel(port: int) -> Iterator[Tunnels]:
    """A proxy in a thread of its own."""
    loop = asyncio.new_event_loop()
    seen = Tunnels()
    server = loop.run_until_complete(_serve(port, seen))
    seen.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name="tunnel", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


async def _serve(port: int, seen: Tunnels) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            seen.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pump(reader, onward_writer, seen, "up"), _pump(onward_reader, writer, seen, "down"))
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Tunnels, way: str) -> None:
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(1 << 18):
            setattr(seen, way, getattr(seen, way) + len(data))
            writer.write(data)
            await writer.drain()
    writer.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
