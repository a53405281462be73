"""A TCP relay that counts bytes: what a client really moved, seen from outside the client."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Traffic:
    """Bytes from the client (`up`) and to it (`down`), HTTP heads included."""

    up: int = 0
    down: int = 0

    def clear(self) -> None:
        self.up = self.down = 0


@contextlib.contextmanager
def relay(port: int) -> Iterator[tuple[int, Traffic]]:
    """Forward a free loopback port to `port`; yield it and its traffic. Runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    traffic = Traffic()
    server = loop.run_until_complete(_serve(port, traffic))
    thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], traffic
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


async def _serve(port: int, traffic: Traffic) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK_BYTES)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, onward_writer, traffic, "up"), _pump(onward_reader, writer, traffic, "down"))

    return await asyncio.start_server(connected, "127.0.0.1", 0, limit=_CHUNK_BYTES)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic, way: str) -> None:
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(_CHUNK_BYTES):
            setattr(traffic, way, getattr(traffic, way) + len(data))
            writer.write(data)
            await writer.drain()
    writer.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
