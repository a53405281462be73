"""Ranges in flight: which to ask for next, how many at once, and what becomes of those that are slow.

Missing bytes wait in a queue of gaps. A free stream takes a piece from the front: large ones while there is much left,
small ones towards the end, so that streams run dry together. Twenty times a second the governor counts what moved, asks
`plateau` how many streams there may be and `hedge` what to do about slow ones, and acts on it:

- too many streams: the youngest end at their next edge, or at once if the rate collapsed or they have no byte yet;
- a restart: the stream is cancelled, the rest of its range goes back to the front of the queue;
- a split: the far end of a range becomes a gap of its own, the stream stops where that begins;
- a hedge: a second stream for the unit that the first one is stuck in, with a buffer of its own.

A stream is cancelled by cancelling its task and is gone when that task ends: the wire lets go of a buffer before a call
returns, so nothing that keeps sending can reach memory that was given to another stream. Whoever proves a unit first
has won it; the loser's bytes are equal or do not pass the proof.

Time is that of the event loop, which tests replace by a virtual one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, field

from bentosync.errors import BentoMLException, NetworkError
from bentosync.manifest.values import LEAF_BYTES
from bentosync.transfer import engine, parts
from bentosync.transfer.hedge import Flow, Hedge, Patience, Rescue, Restart, Split, rescue
from bentosync.transfer.meter import Meter
from bentosync.transfer.plateau import Plateau
from bentosync.transfer.window import Seen

TICK_SECONDS = 0.05
HEDGED_SHARE_MAX = 0.05

_RESTARTS_MAX = 4
_RATE_SECONDS = 1.0
# What an answered request counts as, besides its bytes: a lane of small files would look idle otherwise.
_REQUEST_BYTES = 256 << 10

T = TypeVar("T")


class Enough(Exception):
    """The stream's range was shortened while it was under way, and what is left of it has arrived."""


class Stream(Protocol):
    """What the governor sees of a sink. Offsets are those of the file."""

    end: int
    """Where it shall stop; raise `Enough` once `position` is there and the request goes on."""

    @property
    def position(self) -> int:
        """The first byte that is not proven."""
        ...

    @property
    def edge(self) -> int:
        """Where the unit under way ends: an earlier `end` than this is too late."""
        ...

    @property
    def received(self) -> int:
        """Bytes that came, proven or not."""
        ...


class Gap(Struct, Generic[T]):
    """Bytes [start, end) of a file that nobody asks for at the moment."""

    file: T
    start: int
    end: int
    restarts: int = 0


class Flight(Struct, Generic[T], eq=False):
    """A range under way. `stream` is there once it has a buffer."""

    file: T
    start: int
    end: int
    began: float
    restarts: int = 0
    first: Flight[T] | None = None
    """Of a hedge: the flight whose unit it fetches again."""
    second: Flight[T] | None = None
    """The hedge of this flight."""
    stream: Stream | None = None
    task: asyncio.Task[None] | None = None
    started: bool = False
    stopped: bool = False
    ending: bool = False
    lost_until: int = 0
    rate: float = 0.0
    counted: int = 0
    looked_at: float = 0.0
    moved_at: float = field(default=0.0)

    @property
    def received(self) -> int:
        """Bytes that came so far."""
        return 0 if self.stream is None else self.stream.received

    def look(self, now: float) -> None:
        """Bring `rate` up to date."""
        seconds = now - self.looked_at
        if seconds <= 0:
            return
        received = self.received
        age = now - self.began
        if age < _RATE_SECONDS:
            self.rate = received / max(age, 1e-3)
        else:
            fresh = (received - self.counted) / seconds
            self.rate += (fresh - self.rate) * (1 - math.exp(-seconds / _RATE_SECONDS))
        if received > self.counted:
            self.moved_at = now
        self.counted, self.looked_at = received, now

    def rest(self) -> Gap[T] | None:
        """What is still to come of its range, or nobody's."""
        end = self.end if self.stream is None else self.stream.end
        position = max(self.start if self.stream is None else self.stream.position, self.lost_until)
        return Gap(self.file, position, end, self.restarts) if position < end else None

    def flow(self, now: float) -> Flow:
        """As `hedge` wants it. Only with a stream."""
        assert self.stream is not None
        at = self.stream
        return Flow(
            left_bytes=at.end - at.position,
            unit_bytes=min(at.edge, at.end) - at.position,
            rate=self.rate,
            age_seconds=now - self.began,
            quiet_seconds=now - self.moved_at,
            restarts=self.restarts,
            hedged=self.second is not None or self.first is not None,
        )


class Flights(Generic[T]):
    """Fetches every gap. One instance per download.

    Args:
        gaps: What is missing, in the order in which it shall begin.
        fetch: Carries one flight out: gives it a `stream`, and returns or raises when nothing writes any more.
        name: What a file is called in messages.
        plateau: Decides how many flights there are.
        meter: Counts.
        moved: Bytes that came so far, over all flights.
        range_bytes: The longest request.
        patience: When a flight is slow.
    """

    def __init__(
        self,
        gaps: Iterable[Gap[T]],
        fetch: Callable[[Flight[T]], Awaitable[None]],
        *,
        name: Callable[[T], str],
        plateau: Plateau,
        meter: Meter,
        moved: Callable[[], int],
        range_bytes: int,
        patience: Patience,
    ) -> None:
        self._gaps = deque(gaps)
        self._left = sum(gap.end - gap.start for gap in self._gaps)
        self._fetch = fetch
        self._name = name
        self._plateau = plateau
        self._meter = meter
        self._moved = moved
        self._range_bytes = range_bytes
        self._patience = patience
        self._flights: list[Flight[T]] = []
        self._hedge_bytes = int(self._left * HEDGED_SHARE_MAX)
        self._typical = 0.0
        self._wake = asyncio.Event()
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Return when every gap is closed; raises what a flight raises, once all others have let go."""
        if not self._gaps:
            return
        async with engine.group() as tasks:
            governor = tasks.create_task(self._govern())
            while self._gaps or self._flights:
                while self._gaps and len(self._flights) < self._plateau.level:
                    self._begin(tasks, self._next())
                await self._wake.wait()
                self._wake.clear()
            governor.cancel()

    # --- flights ------------------------------------------------------------------------------------------------------

    def _next(self) -> Gap[T]:
        """A piece from the front of the queue."""
        gap = self._gaps[0]
        step = parts.share(self._left, self._plateau.level, self._range_bytes)
        stop = min(gap.end, gap.start - gap.start % LEAF_BYTES + step)
        piece = Gap(gap.file, gap.start, stop, gap.restarts)
        if stop == gap.end:
            self._gaps.popleft()
        else:
            gap.start, gap.restarts = stop, 0
        self._left -= piece.end - piece.start
        return piece

    def _put_back(self, gap: Gap[T]) -> None:
        self._gaps.appendleft(gap)
        self._left += gap.end - gap.start
        self._wake.set()

    def _begin(self, tasks: asyncio.TaskGroup, piece: Gap[T], first: Flight[T] | None = None) -> None:
        now = self._now()
        flight = Flight(piece.file, piece.start, piece.end, now, piece.restarts, first, looked_at=now, moved_at=now)
        if first is not None:
            first.second = flight
        self._meter.requests += 1
        self._flights.append(flight)
        flight.task = tasks.create_task(self._fly(flight))

    async def _fly(self, flight: Flight[T]) -> None:
        flight.started = True
        try:
            if not flight.stopped:
                await self._fetch(flight)
        except Enough:
            pass
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not flight.stopped or task is None or task.cancelling() > 1:
                raise
            task.uncancel()
        except BentoMLException:
            if flight.first is None:
                raise
        finally:
            flight.look(self._now())
            self._flights.remove(flight)
            self._wake.set()
        self._typical = max(self._typical * 0.9, flight.rate)
        if flight.first is not None:
            self._hedge_ended(flight, flight.first)
            return
        if flight.second is not None:
            self._stop(flight.second)
        rest = flight.rest()
        if rest is None:
            return
        if flight.stopped and rest.start == flight.start:
            if rest.restarts > _RESTARTS_MAX:
                raise NetworkError(
                    f"{self._name(flight.file)}: every connection gets stuck or drips at byte {rest.start}"
                )
        else:
            rest.restarts = 0
        self._put_back(rest)

    def _stop(self, flight: Flight[T]) -> None:
        """End it now; the rest of its range goes back to the queue when its task has ended."""
        if flight.stopped:
            return
        flight.stopped = True
        # A task that is cancelled before its first step never takes it: who would give its range back?
        if flight.started and flight.task is not None:
            flight.task.cancel()

    def _end_early(self, flight: Flight[T]) -> None:
        """Let it come to its next edge; what is beyond goes back now."""
        stream = flight.stream
        if stream is None or not stream.received:
            self._stop(flight)
        elif stream.edge < stream.end:
            self._put_back(Gap(flight.file, stream.edge, stream.end))
            stream.end = stream.edge
        flight.ending = True

    # --- the governor -------------------------------------------------------------------------------------------------

    async def _govern(self) -> None:
        before = self._now()
        async with engine.group() as tasks:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now = self._now()
                self._meter.busy_seconds += len(self._flights) * (now - before)
                self._meter.held_seconds += (now - before) * self._plateau.held
                before = now
                for flight in self._flights:
                    flight.look(now)
                self._adjust(now)
                self._rescue(tasks, now)
                self._wake.set()

    def _adjust(self, now: float) -> None:
        meter = self._meter
        level = self._plateau.tick(
            now,
            Seen(
                self._moved() + _REQUEST_BYTES * (meter.requests - len(self._flights)),
                meter.requests,
                meter.throttled,
                meter.broken,
                sum(flight.received > 0 for flight in self._flights),
            ),
        )
        meter.at_level(level)
        excess = sum(not flight.ending and not flight.stopped for flight in self._flights) - level
        if excess <= 0:
            return
        youngest = sorted(
            (flight for flight in self._flights if not flight.ending and not flight.stopped),
            key=lambda flight: (flight.received > 0, -flight.began),
        )
        for flight in youngest[:excess]:
            if self._plateau.collapsed:
                self._stop(flight)
            else:
                self._end_early(flight)

    def _rescue(self, tasks: asyncio.TaskGroup, now: float) -> None:
        for flight in self._flights:
            first = flight.first
            if first is not None and first.stream is not None and first.stream.position >= flight.end:
                self._stop(flight)
        flights = [f for f in self._flights if f.stream is not None and not f.stopped and not f.ending and f.rest()]
        actions: Sequence[Rescue] = rescue(
            [flight.flow(now) for flight in flights],
            idle=self._plateau.level - len(self._flights),
            waiting=bool(self._gaps),
            typical_rate=self._typical,
            hedge_bytes=self._hedge_bytes,
            patience=self._patience,
        )
        for action in actions:
            flight = flights[action.index]
            stream = flight.stream
            assert stream is not None
            match action:
                case Restart():
                    if flight.second is None:
                        self._meter.restarts += 1
                        flight.restarts += 1
                        self._stop(flight)
                case Split():
                    middle = stream.position + action.keep_bytes
                    self._meter.splits += 1
                    self._put_back(Gap(flight.file, middle, stream.end))
                    stream.end = middle
                case Hedge():
                    unit = Gap(flight.file, stream.position, min(stream.edge, stream.end))
                    self._meter.hedges += 1
                    self._hedge_bytes -= unit.end - unit.start
                    self._begin(tasks, unit, flight)

    def _hedge_ended(self, hedge: Flight[T], first: Flight[T]) -> None:
        """One of the two has the unit; the other one lets go, and its bytes were for nothing."""
        first.second = None
        won = hedge.stream is not None and hedge.stream.position >= hedge.end
        behind = first.stream is not None and first.stream.position < hedge.end
        wasted = hedge.received
        if won and behind and first in self._flights:
            first.lost_until = hedge.end
            wasted = min(hedge.received, first.received)
            self._stop(first)
        self._meter.hedged_bytes += wasted
        self._hedge_bytes += hedge.end - hedge.start - wasted
