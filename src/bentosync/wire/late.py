"""A wire that is made when it is first used, for the client that hardly anybody needs and that is slow to import."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bentosync.wire.exchange import Judge, Pattern, Reply, Request, Shot, Sink, Wire


class LateWire:
    """The `Wire` contract, kept by what `make` returns."""

    def __init__(self, make: Callable[[], Wire]) -> None:
        self._make = make
        self._made: Wire | None = None

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply."""
        return await self._wire().exchange(request, body_bytes_max=body_bytes_max)

    async def exchange_all(self, pattern: Pattern, shots: Sequence[Shot], *, connections: int) -> Sequence[bool]:
        """Send short requests; which were answered with success."""
        return await self._wire().exchange_all(pattern, shots, connections=connections)

    async def receive(self, request: Request, *, judge: Judge, sink: Sink) -> Reply:
        """Send `request`, put the body the judge accepts into `sink`."""
        return await self._wire().receive(request, judge=judge, sink=sink)

    def sends_files(self, url: str) -> bool:
        """The slow client never does; asking need not make it."""
        return False

    async def aclose(self) -> None:
        """Close what was made."""
        if self._made is not None:
            await self._made.aclose()

    def _wire(self) -> Wire:
        if self._made is None:
            self._made = self._make()
        return self._made
