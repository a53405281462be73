"""The wire for bodies that are worth it: range reads straight from the socket into the caller's memory.

Only `receive` is taken over, and only where it is plain: no proxy in between, a reply framed by Content-Length.
Everything else goes through the full client behind it (`pooled`), which is slower and knows HTTP in all its forms; a
host that answered oddly once is left to it for good. Measured against the full client: perf/results.
"""

from __future__ import annotations

import asyncio
import ssl

from bentosync.settings import TransferSettings
from bentosync.wire.connection import Connection, NotPlain, Unheard
from bentosync.wire.dial import dial
from bentosync.wire.exchange import Judge, Reply, Request, Sink, Wire
from bentosync.wire.faults import translated
from bentosync.wire.origin import Origin, request_head, split
from bentosync.wire.proxies import proxy_for
from bentosync.wire.trust import trusted

# S3 closes a connection that was idle for 5 s or more; ours go first.
IDLE_SECONDS_MAX = 4.0


class DirectWire:
    """The `Wire` contract. Belongs to the event loop of its first call.

    Args:
        transfer: Connect and stall times.
        behind: The full client, for everything that is not plain; closed together with this one.
        ca_bundle: A PEM file, or a folder of them, trusted instead of the system's authorities.
    """

    def __init__(self, transfer: TransferSettings, *, behind: Wire, ca_bundle: str | None = None) -> None:
        self._transfer = transfer
        self._behind = behind
        self._ca_bundle = ca_bundle
        self._trust: ssl.SSLContext | None = None
        self._idle: dict[Origin, list[Connection]] = {}
        self._odd: set[Origin] = set()

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply."""
        return await self._behind.exchange(request, body_bytes_max=body_bytes_max)

    async def receive(self, request: Request, *, judge: Judge, sink: Sink) -> Reply:
        """Send `request`, put the body the judge accepts into `sink`."""
        origin, host, target = split(request.url)
        if origin in self._odd or request.body or proxy_for(request.url):
            return await self._behind.receive(request, judge=judge, sink=sink)
        head = request_head(request, host, target)
        stall_seconds = request.reply_seconds or self._transfer.stall_seconds
        while True:
            warm = self._warm(origin)
            connection = warm or await self._connected(origin, host)
            try:
                reply = await connection.exchange(head, judge, sink, stall_seconds=stall_seconds)
            except NotPlain:
                self._odd.add(origin)
                return await self._behind.receive(request, judge=judge, sink=sink)
            except Unheard:
                if warm is None:
                    raise
                continue  # The server closed it while it was idle; that is no fault yet.
            if connection.usable:
                self._idle.setdefault(origin, []).append(connection)
            return reply

    async def aclose(self) -> None:
        """Close every connection."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        await self._behind.aclose()

    def _warm(self, origin: Origin) -> Connection | None:
        """The connection used last, if the server has not had time to close it."""
        connections = self._idle.get(origin, [])
        now = asyncio.get_running_loop().time()
        while connections:
            connection = connections.pop()
            if connection.usable and now - connection.idle_since < IDLE_SECONDS_MAX:
                return connection
            connection.abort()
        return None

    async def _connected(self, origin: Origin, host: str) -> Connection:
        if origin.tls and self._trust is None:
            self._trust = trusted(self._ca_bundle)
        with translated(host, connecting=True):
            async with asyncio.timeout(self._transfer.connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(host),
                    sock=await dial(origin.host, origin.port),
                    ssl=self._trust if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
        return connection
