"""The wire over the compiled core: TLS and the sockets belong to threads that need no GIL.

Taken over are a plain `receive`, and an `exchange` that sends a long body over TLS (`sending`); everything else is left
to the client behind. Connecting is the same as in `direct`: names, addresses, deadlines and their errors; the socket is
then handed to the core. What that buys: docs/adr/0007, 0012, 0018 and 0023.

The threads start with the first connection, never by an import, and end with `aclose`, or before the interpreter does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import ssl
import weakref
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bentosync import cpus
from bentosync.native import _core
from bentosync.settings import TransferSettings
from bentosync.wire import sending
from bentosync.wire.connection import NotPlain, Patience, Unheard
from bentosync.wire.dial import dial
from bentosync.wire.exchange import Extent, Judge, Pattern, Reply, Request, Shot, Sink, Wire, body_bytes
from bentosync.wire.faults import translated
from bentosync.wire.head import HEAD_BYTES_MAX
from bentosync.wire.link import Endings, Link
from bentosync.wire.origin import Origin, request_head, split
from bentosync.wire.proxies import proxy_for
from bentosync.wire.reader import Nowhere, ReplyReader
from bentosync.wire.resting import Resting
from bentosync.wire.trust import trusted

THREADS_MAX = 16
"""Where a source has more to give than so many threads can take, there is no network that brings it."""

_AES_128_GCM = re.compile(r"AES_?128_?.*GCM")


class _Engine(Struct, frozen=True):
    """What lives from the first connection to `aclose`."""

    receiver: _core.Receiver
    endings: Endings
    halt: weakref.finalize[..., object]


class NativeWire:
    """The `Wire` contract. Belongs to the event loop of its first call.

    Args:
        transfer: Connect and stall times.
        behind: The client for everything else; closed together with this one.
        ca_bundle: A PEM file, or a folder of them, trusted instead of the system's authorities.
        threads: How many threads drive connections; None: as many as there are CPUs, up to `THREADS_MAX`.
    """

    def __init__(
        self,
        transfer: TransferSettings,
        *,
        behind: Wire,
        ca_bundle: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._transfer = transfer
        self._behind = behind
        self._ca_bundle = ca_bundle
        self._threads = threads
        self._engine: _Engine | None = None
        self._trust: _core.Trust | None = None
        self._resting = Resting[Link](transfer.jobs)
        self._odd: set[Origin] = set()  # they answer as only the client behind understands
        self._refused: set[Origin] = set()  # OpenSSL makes no session for them

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply."""
        body = _long_body(request)
        if body is not None and not proxy_for(request.url):
            with translated(request.url.split("/")[2]):
                origin, host, target = split(request.url)
                head = request_head(request, host, target, body_bytes(body))
            if origin not in self._refused:
                with contextlib.suppress(_core.Refused):
                    return await self._sent(request, origin, host, head, body, body_bytes_max)
                self._refused.add(origin)
        return await self._behind.exchange(request, body_bytes_max=body_bytes_max)

    async def _sent(
        self, request: Request, origin: Origin, host: str, head: bytes, body: Sequence[memoryview], collect_max: int
    ) -> Reply:
        stall_seconds = self._transfer.stall_seconds
        patience = Patience(stall_seconds, request.reply_seconds or stall_seconds)
        while True:
            warm = self._resting.take(origin)
            link = warm or await self._connected(origin, host)
            reader = ReplyReader(
                host, bytearray(HEAD_BYTES_MAX), lambda reply: None, Nowhere(), collect_max=collect_max, bodyless=False
            )
            try:
                reply = await sending.exchange(link, head, body, reader, patience)
            except Unheard:
                if warm is None or self._engine is None:
                    raise
                continue  # The server closed it while it was idle, and a PUT may be sent again.
            if request.check is not None:
                with link.closing_on_error():
                    request.check(reply)
            self._resting.give(origin, link)
            return reply

    async def exchange_all(self, pattern: Pattern, shots: Sequence[Shot], *, connections: int) -> Sequence[bool]:
        """Send short requests; which were answered with success."""
        return await self._behind.exchange_all(pattern, shots, connections=connections)

    async def receive(self, request: Request, *, judge: Judge, sink: Sink) -> Reply:
        """Send `request`, put the body the judge accepts into `sink`."""
        origin, host, target = split(request.url)
        if origin in self._odd or request.body or proxy_for(request.url):
            return await self._behind.receive(request, judge=judge, sink=sink)
        head = request_head(request, host, target)
        stall_seconds = request.reply_seconds or self._transfer.stall_seconds
        while True:
            warm = self._resting.take(origin)
            try:
                link = warm or await self._connected(origin, host)
                reply = await link.exchange(head, judge, sink, stall_seconds=stall_seconds)
            except (NotPlain, _core.Refused):
                self._odd.add(origin)
                return await self._behind.receive(request, judge=judge, sink=sink)
            except Unheard:
                if warm is None or self._engine is None:
                    raise
                continue  # The server closed it while it was idle; that is no fault yet.
            self._resting.give(origin, link)
            return reply

    def sends_files(self, url: str) -> bool:
        """As the client behind it, which has the requests with bodies."""
        return self._behind.sends_files(url)

    async def aclose(self) -> None:
        """Close every connection, end the threads."""
        self._resting.forget()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.halt.detach()
            engine.endings.close()
            engine.receiver.stop()
        await self._behind.aclose()

    async def _connected(self, origin: Origin, host: str) -> Link:
        engine = self._started()
        trust = self._trusting() if origin.tls else None
        with translated(host, connecting=True):
            async with asyncio.timeout(self._transfer.connect_seconds):
                fd = (await dial(origin.host, origin.port)).detach()
                connection = engine.receiver.adopt(fd, trust, *_certified_name(origin.host))
                link = Link(connection, engine.endings, host)
                if origin.tls:
                    await link.shake_hands()
        return link

    def _started(self) -> _Engine:
        if self._engine is None:
            receiver = _core.Receiver(self._threads or min(cpus.usable(), THREADS_MAX))
            # A finalizer also runs before the interpreter exits: OpenSSL cleans up after that, and must find no thread.
            self._engine = _Engine(receiver, Endings(receiver), weakref.finalize(self, receiver.halt))
        return self._engine

    def _trusting(self) -> _core.Trust:
        if self._trust is None:
            self._trust = _same_trust(trusted(self._ca_bundle), self._ca_bundle)
        return self._trust


def _long_body(request: Request) -> Sequence[memoryview] | None:
    """The body of a request that the core is to send: worth its while, and harmless if it is sent twice."""
    body = request.body
    if request.method != "PUT" or not request.url.startswith("https:") or isinstance(body, bytes | Extent):
        return None
    return body if body_bytes(body) >= sending.SENT_BYTES_MIN else None


def _certified_name(host: str) -> tuple[str, bool]:
    """What the certificate must be for, and whether that is an address."""
    try:
        return str(ipaddress.ip_address(host)), True
    except ValueError:
        return host.encode("idna").decode("ascii"), False


def _same_trust(context: ssl.SSLContext, ca_bundle: str | None) -> _core.Trust:
    """The decisions of Python's `ssl`, for an OpenSSL that may be another one."""
    if ca_bundle is None:
        paths = ssl.get_default_verify_paths()
        file, folder = paths.cafile or "", paths.capath or ""
    else:
        file, folder = ("", ca_bundle) if Path(ca_bundle).is_dir() else (ca_bundle, "")
    ciphers = context.get_ciphers()
    # Of two that are trusted alike the faster one first, as browsers do: AES-256 has 14 rounds, AES-128 has 10.
    ciphers.sort(key=lambda cipher: not _AES_128_GCM.search(str(cipher["name"])))
    older = [str(cipher["name"]) for cipher in ciphers if cipher["protocol"] != "TLSv1.3"]
    return _core.Trust(
        file=file,
        folder=folder,
        ciphers=":".join([f"@SECLEVEL={context.security_level}", *older]),
        suites=":".join(str(cipher["name"]) for cipher in ciphers if cipher["protocol"] == "TLSv1.3"),
        verify_flags=int(context.verify_flags),
        version_min=max(int(context.minimum_version), int(ssl.TLSVersion.TLSv1_2)),
    )
