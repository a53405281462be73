"""Bodies that need not pass through Python: a sink may say where the next bytes go, and what they must be.

An extension of `exchange.Sink`. A wire that can digest and write by itself (`native`) uses it; the others call `buffer`
and `filled` as for any sink, with the same result.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct

from bentosync.wire.exchange import Sink


class Landing(Struct, frozen=True):
    """The next `size` bytes of a body go to `offset` of the open file `fd`, unit by unit.

    A unit is as long as `memory`, through which it passes; the last one may be shorter. `digests` holds the XXH3-64 of
    each unit, 8 bytes, big-endian. A unit that has another one is never written.
    """

    memory: memoryview
    fd: int
    offset: int
    size: int
    digests: bytes


@runtime_checkable
class LandingSink(Sink, Protocol):
    """A sink that knows where its bytes go."""

    def landing(self, left: int) -> Landing | None:
        """For some of the `left` bytes that are still to come; None: use `buffer` and `filled`."""
        ...

    def landed(self, count: int, coming: int) -> None:
        """The next `count` bytes, whole units, are proven and written; of the unit behind them `coming` have come.

        Called now and then while a landing goes on, and at its end, with 0 for what is not whole then. A unit that
        could not be proven or written is given to `filled` instead, in the memory of the landing: the sink finds out
        why.
        """
        ...

    def spent(self, hash_seconds: float, disk_seconds: float, disk_cpu_seconds: float) -> None:
        """What a landing took, at its end: digests, writing, and that part of writing which was not waiting."""
        ...
