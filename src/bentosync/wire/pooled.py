"""The wire over aiohttp: pooled HTTP/1.1 connections, and bodies copied into the caller's buffers as they arrive.

What aiohttp would do on its own is switched off: redirects, cookies, decompression, ~/.netrc. It reads the socket
into `bytes`; each is copied into `sink.buffer()` on the event loop's thread, in the task that called `receive`. So a
task that has returned, or has been cancelled, cannot touch a buffer later: nothing else knows the sink.

Every error leaves through `client_faults.translated`, except what a judge or a sink raises.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from bentosync.errors import NetworkError, RemoteError
from bentosync.settings import TransferSettings
from bentosync.wire.buffers import Buffers
from bentosync.wire.client_faults import translated
from bentosync.wire.exchange import Judge, Pattern, Reply, Request, Shot, Sink, buffers
from bentosync.wire.proxies import proxy_for
from bentosync.wire.rate import shared_limiter
from bentosync.wire.trust import trusted

# S3 closes a connection that was idle for 5 s or more; ours go first.
_IDLE_SECONDS_MAX = 4.0
# aiohttp reads at most 256 KiB at a time and pauses the socket at twice this figure.
_READ_BUFFER_BYTES = 512 << 10
_REFUSAL_BYTES_MAX = 1 << 20
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "bentosync"}


def client_timeout(transfer: TransferSettings, silence_seconds: float | None = None) -> aiohttp.ClientTimeout:
    """How long aiohttp waits: for a connection, and for the next bytes; never for the whole, which may be large."""
    return aiohttp.ClientTimeout(
        total=None,
        sock_connect=transfer.connect_seconds,
        sock_read=transfer.stall_seconds if silence_seconds is None else silence_seconds,
    )


class PooledWire:
    """The `Wire` contract. Belongs to the event loop of its first call.

    Args:
        transfer: Connect and stall times; `jobs` sizes the pool; the limit of the rate holds for bodies both ways.
        ca_bundle: A PEM file, or a folder of them, trusted instead of the system's authorities.
    """

    def __init__(self, transfer: TransferSettings, *, ca_bundle: str | None = None) -> None:
        self._transfer = transfer
        self._ca_bundle = ca_bundle
        self._limiter = shared_limiter(transfer.limit_bytes_per_second)
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply."""
        async with self._opened(request) as response:
            reply = Reply(response.status, _headers(response), await _collect(response, body_bytes_max))
            if request.check is not None:
                request.check(reply)
            return reply

    async def exchange_all(self, pattern: Pattern, shots: Sequence[Shot], *, connections: int) -> Sequence[bool]:
        """None of them: this wire has no shorter way than `exchange`."""
        return [False] * len(shots)

    async def receive(self, request: Request, *, judge: Judge, sink: Sink) -> Reply:
        """Send `request`, put the body the judge accepts into `sink`."""
        async with self._opened(request) as response:
            reply = Reply(response.status, _headers(response))
            wanted = judge(reply)
            if wanted is None:
                return Reply(reply.status, reply.headers, await _collect(response, _REFUSAL_BYTES_MAX))
            await self._pour(response, wanted, sink)
            return reply

    def sends_files(self, url: str) -> bool:
        """It passes on buffers only."""
        return False

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _pour(self, response: aiohttp.ClientResponse, wanted: int, sink: Sink) -> None:
        """Exactly `wanted` body bytes into `sink`, then the end of the body."""
        missing = wanted
        while chunk := await _next(response):
            source = memoryview(chunk)[:missing]
            missing -= len(source)
            excess = len(chunk) - len(source)
            while source:
                target = sink.buffer()
                count = min(len(target), len(source))
                target[:count] = source[:count]
                sink.filled(count)
                source = source[count:]
            await self._limiter.passed(len(chunk))
            if excess:
                raise RemoteError(f"The reply of {response.url.host} goes on after the {wanted} bytes it should have")
        if missing:
            raise NetworkError(f"The reply of {response.url.host} ended {missing} bytes early")

    @contextlib.asynccontextmanager
    async def _opened(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the reply is here. After an exception in the block the connection is closed, not reused."""
        body = self._body(request)
        try:
            response = await self._send(request, body)
            try:
                yield response
            except BaseException:
                response.close()
                if body is not None:
                    body.drop()
                raise
            response.release()
        finally:
            if body is not None:
                body.let_go()

    async def _send(self, request: Request, body: Buffers | None) -> aiohttp.ClientResponse:
        session = self._opened_session()
        headers = _HEADERS | dict(request.headers)
        proxy = proxy_for(request.url)
        if proxy and not request.url.startswith("https:"):
            headers |= proxy.headers  # no tunnel: the request itself goes to the proxy
        silence_seconds = request.reply_seconds or self._transfer.stall_seconds
        # Without a body the head is due soon; this also bounds a flood of interim replies.
        deadline = None if body else self._transfer.connect_seconds + 2 * silence_seconds
        with translated(_host(request.url)):
            async with asyncio.timeout(deadline):
                return await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    proxy=proxy.url if proxy else None,
                    proxy_headers=proxy.headers if proxy else None,
                    timeout=client_timeout(self._transfer, silence_seconds),
                )

    def _body(self, request: Request) -> Buffers | None:
        body = Buffers(buffers(request.body), stall_seconds=self._transfer.stall_seconds, limiter=self._limiter)
        return body if body.size else None

    def _opened_session(self) -> aiohttp.ClientSession:
        """One session for all calls, made in the running loop."""
        if self._session is None:
            # Twice the jobs: a hedge or a control call never waits for a connection.
            connector = aiohttp.TCPConnector(
                limit=2 * self._transfer.jobs + 8,
                keepalive_timeout=_IDLE_SECONDS_MAX,
                ssl=trusted(self._ca_bundle),
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER_BYTES,
            )
        return self._session


async def _collect(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body, refused as soon as it is longer than `bytes_max`."""
    body = bytearray()
    while chunk := await _next(response):
        body += chunk
        if len(body) > bytes_max:
            raise RemoteError(f"The reply of {response.url.host} is longer than {bytes_max} bytes")
    return bytes(body)


async def _next(response: aiohttp.ClientResponse) -> bytes:
    """The next bytes as they came from the socket, without a join; empty at the end of the body."""
    with translated(response.url.host or ""):
        while True:
            chunk, ends_http_chunk = await response.content.readchunk()
            # A reply without a body (HEAD, 204) reports the end of a chunk for ever.
            if chunk or not ends_http_chunk or response.content.at_eof():
                return chunk


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
