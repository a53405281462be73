"""The wire over the compiled core: TLS and the sockets belong to threads that need no GIL.

As in `direct`, only a plain `receive` is taken over and everything else is left to the client behind it. Connecting is
the same as there: names, addresses, deadlines and their errors; the socket is then handed to the core. What that buys:
docs/adr/0007, 0012 and 0018.

The threads start with the first connection, never by an import, and end with `aclose`, or before the interpreter does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bentosync import cpus
from bentosync.native import _core
from bentosync.settings import TransferSettings
from bentosync.wire.connection import NotPlain, Unheard
from bentosync.wire.dial import dial
from bentosync.wire.direct import IDLE_SECONDS_MAX
from bentosync.wire.exchange import Judge, Pattern, Reply, Request, Shot, Sink, Wire
from bentosync.wire.faults import translated
from bentosync.wire.link import Endings, Link
from bentosync.wire.origin import Origin, request_head, split
from bentosync.wire.proxies import proxy_for
from bentosync.wire.trust import trusted

THREADS_MAX = 16
"""Where a source has more to give than so many threads can take, there is no network that brings it."""

_AES_128_GCM = re.compile(r"AES_?128_?.*GCM")


@dataclass(frozen=True, slots=True)
class _Engine:
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
        self._idle: dict[Origin, list[Link]] = {}
        self._odd: set[Origin] = set()

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply."""
        return await self._behind.exchange(request, body_bytes_max=body_bytes_max)

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
            warm = self._warm(origin)
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
            if link.usable:
                self._idle.setdefault(origin, []).append(link)
            return reply

    async def aclose(self) -> None:
        """Close every connection, end the threads."""
        self._idle.clear()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.halt.detach()
            engine.endings.close()
            engine.receiver.stop()
        await self._behind.aclose()

    def _warm(self, origin: Origin) -> Link | None:
        """The connection used last, if the server has not had time to close it."""
        links = self._idle.get(origin, [])
        now = asyncio.get_running_loop().time()
        while links:
            link = links.pop()
            if link.usable and now - link.idle_since < IDLE_SECONDS_MAX:
                return link
            link.abort()
        return None

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
