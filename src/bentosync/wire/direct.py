"""The wire: requests and replies straight between sockets and the caller's memory.

Everything that needs no proxy goes this way, control calls and bodies in both directions alike; `connection` does the
exchange, here are the pool and the second try. What must go through a proxy is left to the full client behind (`late`),
which is slower, and whose import costs more than many a pull.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import weakref
from collections.abc import Sequence

from bentosync.errors import BentoMLException
from bentosync.settings import TransferSettings
from bentosync.wire import core_lanes, lanes
from bentosync.wire.connection import REFUSAL_BYTES_MAX, Connection, Patience, Stale, Unheard
from bentosync.wire.dial import dial
from bentosync.wire.exchange import (
    Body,
    Extent,
    Judge,
    Pattern,
    Reply,
    Request,
    Shot,
    Sink,
    Wire,
    body_bytes,
    buffers,
)
from bentosync.wire.faults import translated
from bentosync.wire.handshake import secured
from bentosync.wire.origin import Origin, request_head, split
from bentosync.wire.proxies import proxy_for
from bentosync.wire.reader import Nowhere, ReplyReader
from bentosync.wire.resting import Resting
from bentosync.wire.trust import trusted
from bentosync.wire.volley import Volley

# RFC 9110, 9.2.2: what may be sent again when nobody knows whether it arrived.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class DirectWire:
    """The `Wire` contract. Belongs to the event loop of its first call.

    Args:
        transfer: Connect and stall times; `jobs` bounds how many connections rest.
        behind: The full client, for what must go through a proxy; closed together with this one.
        ca_bundle: A PEM file, or a folder of them, trusted instead of the system's authorities.
        core: The compiled core's volleys, if there are any.
    """

    def __init__(
        self,
        transfer: TransferSettings,
        *,
        behind: Wire,
        ca_bundle: str | None = None,
        core: core_lanes.Core | None = None,
    ) -> None:
        self._transfer = transfer
        self._behind = behind
        self._ca_bundle = ca_bundle
        self._core = core
        self._trust: ssl.SSLContext | None = None
        self._resting = Resting[Connection](transfer.jobs)
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._proxied: dict[str, bool] = {}

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply."""
        if self._through_proxy(request.url):
            return await self._behind.exchange(request, body_bytes_max=body_bytes_max)
        return await self._exchanged(request, judge=lambda reply: None, sink=Nowhere(), collect_max=body_bytes_max)

    async def exchange_all(self, pattern: Pattern, shots: Sequence[Shot], *, connections: int) -> Sequence[bool]:
        """A volley; what waits when connections ended (a server may close each after so many) goes over new ones.

        A server whose replies the compiled core does not understand is left to the twin.
        """
        if not shots or self._through_proxy(pattern.url):
            return [False] * len(shots)
        origin, host, _ = split(pattern.url)
        volley = Volley.of(host, pattern, shots)
        core = None if origin.tls else self._core
        while volley.waiting:
            answered = volley.answered
            connected = await self._connections(origin, host, min(connections, len(volley.waiting)))
            try:
                if core is not None:
                    await core_lanes.fire(core, volley, connected, self._transfer.stall_seconds)
                else:
                    await lanes.fire(volley, connected, self._transfer.stall_seconds)
            finally:
                for connection in connected:
                    self._resting.give(origin, connection)
            if volley.answered == answered:
                if core is None:
                    break
                core = None
        return volley.successes

    async def _connections(self, origin: Origin, host: str, count: int) -> list[Connection]:
        """Up to `count` of them, warm ones first; fewer, or none, if the server takes no more."""
        found: list[Connection] = []
        while len(found) < count and (warm := self._resting.take(origin)) is not None:
            found.append(warm)
        made = await asyncio.gather(
            *(self._connected(origin, host) for _ in range(count - len(found))), return_exceptions=True
        )
        for connection in made:
            if isinstance(connection, Connection):
                found.append(connection)
            elif not isinstance(connection, BentoMLException):
                raise connection
        return found

    async def receive(self, request: Request, *, judge: Judge, sink: Sink) -> Reply:
        """Send `request`, put the body the judge accepts into `sink`."""
        if self._through_proxy(request.url):
            return await self._behind.receive(request, judge=judge, sink=sink)
        return await self._exchanged(request, judge=judge, sink=sink, collect_max=REFUSAL_BYTES_MAX)

    def sends_files(self, url: str) -> bool:
        """Where the bytes of the file are those of the socket: not under TLS, and not through a proxy's client."""
        return url.startswith("http:") and sys.platform == "linux" and not self._through_proxy(url)

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()
        self._resting.forget()
        await self._behind.aclose()

    async def _exchanged(self, request: Request, *, judge: Judge, sink: Sink, collect_max: int) -> Reply:
        body = _pieces(request.body)
        with translated(request.url.split("/")[2]):
            origin, host, target = split(request.url)
            head = request_head(request, host, target, body_bytes(request.body))
        stall_seconds = self._transfer.stall_seconds
        patience = Patience(stall_seconds, request.reply_seconds or stall_seconds)
        while True:
            warm = self._resting.take(origin)
            connection = warm or await self._connected(origin, host)
            reader = ReplyReader(
                host, connection.scratch, judge, sink, collect_max=collect_max, bodyless=request.method == "HEAD"
            )
            try:
                reply = await connection.exchange(head, body, reader, patience)
            except Unheard as silence:
                # The server closed it while it rested; that is no fault yet.
                if warm is None or not (isinstance(silence, Stale) or request.method in _IDEMPOTENT):
                    raise
                continue
            self._checked(request, reply, connection)
            self._resting.give(origin, connection)
            return reply

    def _through_proxy(self, url: str) -> bool:
        """Asked once for every place: the answer goes through the whole environment."""
        place = url[: url.find("/", 8)]
        if place not in self._proxied:
            self._proxied[place] = proxy_for(url) is not None
        return self._proxied[place]

    @staticmethod
    def _checked(request: Request, reply: Reply, connection: Connection) -> None:
        if request.check is None:
            return
        try:
            request.check(reply)
        except BaseException:
            connection.abort()
            raise

    async def _connected(self, origin: Origin, host: str) -> Connection:
        if origin.tls and self._trust is None:
            self._trust = trusted(self._ca_bundle)
        with translated(host, connecting=True):
            async with asyncio.timeout(self._transfer.connect_seconds):
                channel = await dial(origin.host, origin.port)
                if self._trust is not None and origin.tls:
                    channel = await secured(channel, self._trust, origin.host)
        connection = Connection(channel, host)
        self._open.add(connection)
        return connection


def _pieces(body: Body) -> Sequence[memoryview | Extent]:
    return [body] if isinstance(body, Extent) else buffers(body)
