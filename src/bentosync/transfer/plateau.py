"""How many requests to keep in flight: as few as give what more would give.

A pure decision. Counters go in at moments that the caller names, the number of streams comes out; nothing here waits,
reads a clock or draws a random number.

The first windows climb: 4 streams, then twice as many, for as long as each step gains 5 % or more. Then the level is
held, and looked at again ever more rarely: one rung less (kept if nothing is lost), one more (kept if something is
won). An optimizer that follows its best rate so far ratchets upwards on noise; one that compares neighbours, measured
one after the other, finds the plateau's near edge.

What a server says without words counts as much. Refusals (503, 429, resets): the level steps back to one that was
clean; if the refusals stay as frequent there, they are not about us, and bytes alone decide. A rate that falls to half
after a step up: back at once, and that level is not tried again for minutes. A rate that falls without a step: what
was learnt is forgotten.

A window begins when the streams of a new level flow, and ends when it holds enough to compare: half a second that
catches the last bursts of the old level says anything you like.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec.structs import replace

from bentosync.manifest.values import LEAF_BYTES
from bentosync.transfer.window import Seen, Window

LEVEL_START = 4
GAIN_MIN = 1.05
"""A level is kept only if it beats the lower one by this."""

_CLIMB_GAIN = 1.5
_COLLAPSE = 0.5
_ANCHOR = 0.9  # many small losses must not add up to a large one
_SETTLE_SECONDS_MAX = 1.0
_WINDOW_SECONDS_MIN = 0.15
_WINDOW_SECONDS_STEADY = 0.4
_WINDOW_SECONDS_REFUSED = 1.0
_WINDOW_SECONDS_MAX = 2.0
_COLLAPSE_SECONDS = 0.3
_COLLAPSE_UNITS = 8
_WINDOW_UNITS = 3  # of each stream
_HOLD_SECONDS_MIN = 1.0
_HOLD_SECONDS_MAX = 60.0
_BISECT_SECONDS = 0.3  # between a level that is good and one that is bad, the next look is soon
_BAD_SECONDS_MIN = 10.0
_BAD_SECONDS_MAX = 300.0
# A server that is overwhelmed by the first level already gives every stream a crawl, and more of it to more streams.
_CRAWL_BYTES_PER_SECOND = 4e6
_LOOK_BELOW = (2, 1)
_REFUSED_SHARE_MIN = 0.02
_REQUESTS_MIN = 12
# Whether a lower level is refused less: so many standard deviations between two shares say yes, so few say no.
_APART = 2.5
_TOGETHER = 0.7
_REFUSAL_WINDOW_SECONDS_MAX = 4.0


_Mode = Literal["climb", "hold", "up", "down", "look", "yield"]


class Plateau:
    """The level of one transfer. `level` is what `tick` returned last.

    Args:
        level_max: Never more streams than this.
        level_start: The first level.
        unit_bytes: How coarse the count of bytes is.
    """

    def __init__(self, level_max: int, *, level_start: int = LEVEL_START, unit_bytes: int = 1 << 20) -> None:
        self.level = max(1, min(level_start, level_max))
        self.collapsed = False
        self._level_max = max(1, level_max)
        self._unit_bytes = unit_bytes
        # Bytes that are only counted part by part need time to add up.
        patience = 5.0 if unit_bytes > LEAF_BYTES else 1.0
        self._settle_seconds_max = patience * _SETTLE_SECONDS_MAX
        self._window_seconds_max = patience * _WINDOW_SECONDS_MAX
        self._mode: _Mode = "climb"
        self._changed: tuple[float, Seen] | None = None
        self._opened: tuple[float, Seen] | None = None
        self._lower: Window | None = None  # what the level on trial has to beat, or (going down) must not lose to
        self._clean = 0  # the highest level that was not refused
        self._bad: int | None = None  # a level that was refused or collapsed
        self._bad_until = 0.0
        self._crawls = False
        self._refused = False  # whether that level was refused; else it collapsed
        self._bad_seconds = _BAD_SECONDS_MIN
        self._deaf_share: float | None = None
        self._deaf_until = 0.0
        self._anchor = 0.0
        self._hold_seconds = _HOLD_SECONDS_MIN
        self._hold_until = 0.0
        self._next: Literal["up", "down"] = "down"
        self._now = 0.0

    def tick(self, now: float, seen: Seen) -> int:
        """The level from `now` on (seconds of any steady clock). Call it about twenty times a second."""
        self._now = now
        self.collapsed = False
        if self._changed is None:
            self._changed = (now, seen)
        if self._opened is None and not self._open(seen):
            return self.level
        window = self._closed(seen)
        if window is not None:
            self._opened = (now, seen)
            self._judge(window)
        return self.level

    @property
    def held(self) -> bool:
        """Whether more streams were refused lately, so that there are fewer than there might be."""
        return self._bad is not None and self._refused and self._now < self._bad_until

    # --- windows ------------------------------------------------------------------------------------------------------

    def _open(self, seen: Seen) -> bool:
        """Begin a window if the streams of this level flow, or are refused: refusals count from the change on."""
        assert self._changed is not None
        since, before = self._changed
        if seen.refused > before.refused:
            self._opened = self._changed
            return True
        wanted = self.level - (self.level >= _WINDOW_UNITS)  # one stalled stream shall not hold up the rest
        if seen.flowing >= wanted or self._now - since >= self._settle_seconds_max:
            self._opened = (self._now, seen)
        return False

    def _closed(self, seen: Seen) -> Window | None:
        """The open window, if it holds enough."""
        assert self._opened is not None
        began, before = self._opened
        seconds = self._now - began
        moved = seen.moved_bytes - before.moved_bytes
        window = Window(
            self.level,
            moved / max(seconds, 1e-3),
            seen.requests - before.requests,
            seen.refused - before.refused,
            seen.broken - before.broken,
        )
        if self._mode == "yield" and self._lower is not None and seconds < _REFUSAL_WINDOW_SECONDS_MAX:
            apart = self._lower.apart(window)
            enough = window.requests >= 2 * _REQUESTS_MIN or (apart < _TOGETHER and window.requests >= _REQUESTS_MIN)
            return window if apart >= _APART or enough else None
        if window.requests >= _REQUESTS_MIN and self._heeds(window):
            return window
        # Pauses after refusals make the rate jump about; only a longer look tells one level from the next.
        least = _WINDOW_SECONDS_MIN if self._mode == "climb" else _WINDOW_SECONDS_STEADY
        if seconds < (_WINDOW_SECONDS_REFUSED if window.refused else least):
            return None
        falls = self._lower is not None and window.rate < self._lower.rate * _COLLAPSE
        enough = moved >= _WINDOW_UNITS * self.level * self._unit_bytes
        falls = falls and self._lower is not None and self._lower.rate * seconds >= _COLLAPSE_UNITS * self._unit_bytes
        late = seconds >= self._window_seconds_max or (falls and seconds >= _COLLAPSE_SECONDS)
        return window if enough or late else None

    # --- decisions ----------------------------------------------------------------------------------------------------

    def _judge(self, window: Window) -> None:
        if self._mode != "yield" and self._heeds(window) and not self._climbs(window):
            if window.level > self._clean:
                self._step_back(window)
                return
            self._ignore(window.share)  # it was not refused before, so it is not the number of streams
        if not window.share and window.requests >= _REQUESTS_MIN:
            self._clean = max(self._clean, window.level)
        getattr(self, f"_judge_{self._mode}")(window)

    def _climbs(self, window: Window) -> bool:
        """Whether the climb is well under way in spite of refusals; where it begins there is nothing to go back to."""
        lower = self._lower
        return self._mode == "climb" and (lower is None or window.rate >= lower.rate * _CLIMB_GAIN)

    def _judge_climb(self, window: Window) -> None:
        lower = self._lower
        if lower is None:
            self._crawls = window.rate < window.level * _CRAWL_BYTES_PER_SECOND
        if lower is not None and window.rate < lower.rate * _COLLAPSE:
            self._collapse(lower)
        elif lower is not None and window.rate < lower.rate * GAIN_MIN:
            self._settle_on(lower)
        else:
            step = min(window.level * 2, self._ceiling())
            if step <= window.level:
                self._settle_on(window)
            else:
                self._try("climb", step, window)

    def _judge_hold(self, window: Window) -> None:
        if self._lower is not None and window.rate < self._lower.rate * _COLLAPSE:
            self._forget(window)
            return
        known = self._lower.rate if self._lower is not None and self._lower.level == window.level else window.rate
        self._lower = replace(window, rate=(known + window.rate) / 2)
        self._anchor = max(self._anchor * 0.99, self._lower.rate)
        if self._now < self._hold_until:
            return
        up, down = self._rung_above(), self._rung_below()
        if self._next == "up" and up is not None:
            self._try("up", up, window)
        elif down is not None:
            self._try("down", down, window)
        elif up is not None:
            self._try("up", up, window)
        else:
            self._hold_longer()

    def _judge_up(self, window: Window) -> None:
        lower = self._lower
        assert lower is not None
        if window.rate < lower.rate * _COLLAPSE:
            self._collapse(lower)
        elif window.rate >= lower.rate * GAIN_MIN:
            self._next, self._hold_seconds = "up", _HOLD_SECONDS_MIN
            self._rest(window, 0.0)
        else:
            self._next = "down"
            self._hold_longer()
            self._rest(lower, self._hold_seconds)

    def _judge_down(self, window: Window) -> None:
        higher = self._lower
        assert higher is not None
        if higher.rate >= window.rate * GAIN_MIN or window.rate < self._anchor * _ANCHOR:
            self._next = "up"
            self._hold_longer()
            self._rest(higher, self._hold_seconds)
        else:
            self._rest(window, self._hold_seconds / 2)

    def _judge_look(self, window: Window) -> None:
        higher = self._lower
        assert higher is not None
        if higher.rate < window.rate * GAIN_MIN:
            self._clean = max(self._clean, window.level)
            self._mark_bad(LEVEL_START, refused=False)
            self._next = "up"
            self._rest(window, _BISECT_SECONDS)
        elif window.level > _LOOK_BELOW[1]:
            self._try("look", _LOOK_BELOW[1], higher)
        else:
            self._rest(higher, self._hold_seconds)

    def _judge_yield(self, window: Window) -> None:
        refused = self._lower
        assert refused is not None
        if refused.apart(window) > (_APART + _TOGETHER) / 2:
            self._mark_bad(refused.level, refused=True)
            self._clean = max(self._clean, window.level)
            self._next = "up"
            self._rest(window, _BISECT_SECONDS)
            return
        self._ignore(max(window.share, refused.share))
        if refused.rate >= window.rate * GAIN_MIN:
            self._try("climb", refused.level, window)
        else:
            self._settle_on(window)

    # --- refusals and collapses ---------------------------------------------------------------------------------------

    def _heeds(self, window: Window) -> bool:
        """Whether these refusals call for fewer streams."""
        if window.share <= _REFUSED_SHARE_MIN or self.level == 1:
            return False
        if self._deaf_share is not None and self._now < self._deaf_until:
            return window.requests >= _REQUESTS_MIN and window.share > 2 * self._deaf_share + 0.1
        return True

    def _step_back(self, window: Window) -> None:
        self._deaf_share = None
        came_up = self._mode in ("climb", "up") and self._lower is not None
        below = self._lower.level if came_up and self._lower is not None else max(self._clean, window.level // 2)
        self._try("yield", max(1, min(below, window.level - 1)), window)

    def _ignore(self, share: float) -> None:
        self._deaf_share, self._deaf_until = share, self._now + _HOLD_SECONDS_MAX

    def _collapse(self, lower: Window) -> None:
        self._bad_seconds = _BAD_SECONDS_MAX
        self._mark_bad(self.level, refused=False)
        self.collapsed = True
        self._clean = max(self._clean, lower.level)
        self._next = "up"
        self._rest(lower, _BISECT_SECONDS)

    def _mark_bad(self, level: int, *, refused: bool) -> None:
        self._refused = refused
        self._bad, self._bad_until = level, self._now + self._bad_seconds
        self._bad_seconds = min(self._bad_seconds * 2, _BAD_SECONDS_MAX)

    def _forget(self, window: Window) -> None:
        """The rate fell by itself: the line is another one now, or a level that was fine is so no more."""
        self._anchor, self._lower = 0.0, None
        self._hold_seconds, self._next = _HOLD_SECONDS_MIN, "down"
        self._rest(window, 0.0)

    # --- moves --------------------------------------------------------------------------------------------------------

    def _ceiling(self) -> int:
        """The highest level that may be tried now: half-way to one known to be bad."""
        if self._bad is None or self._now >= self._bad_until:
            self._bad = None
            return self._level_max
        near = self._bad - self.level <= max(1, self.level // 4)
        return self.level if near else min(self._level_max, (self.level + self._bad) // 2)

    def _rung_above(self) -> int | None:
        ceiling = self._ceiling()
        up = ceiling if self._bad is not None else min(self.level + max(1, self.level // 3), ceiling)
        return up if up > self.level else None

    def _rung_below(self) -> int | None:
        down = self.level - max(1, self.level // 4)
        return down if down >= 1 else None

    def _try(self, mode: _Mode, level: int, against: Window) -> None:
        self._mode, self._lower = mode, against
        self._move(level)

    def _settle_on(self, window: Window) -> None:
        """The climb is over. Where it began with a crawl, perhaps too many streams were the reason from the start."""
        self._next = "down"
        if self._crawls and window.level > _LOOK_BELOW[0]:
            self._crawls = False
            self._try("look", _LOOK_BELOW[0], window)
        else:
            self._rest(window, self._hold_seconds)

    def _rest(self, window: Window, seconds: float) -> None:
        self._mode, self._lower = "hold", window
        self._hold_until = self._now + seconds
        self._anchor = max(self._anchor, window.rate)
        self._move(window.level)

    def _hold_longer(self) -> None:
        self._hold_seconds = min(self._hold_seconds * 2, _HOLD_SECONDS_MAX)

    def _move(self, level: int) -> None:
        if level != self.level:
            self.level = level
            self._changed = self._opened = None


class Fixed(Plateau):
    """What every other tool has: a number that is never left."""

    def __init__(self, level: int) -> None:
        super().__init__(level, level_start=level)

    def tick(self, now: float, seen: Seen) -> int:
        """Always the same."""
        return self.level


class Controller(Protocol):
    """Makes what decides how many streams there are, from the most there may be and how coarse bytes are counted."""

    def __call__(self, level_max: int, unit_bytes: int, *, level_start: int = LEVEL_START) -> Plateau:
        """The decision of one transfer."""
        ...


def chosen(level_max: int, unit_bytes: int, *, level_start: int = LEVEL_START) -> Plateau:
    """What finds out."""
    return Plateau(level_max, level_start=level_start, unit_bytes=unit_bytes)


def fixed(level_max: int, unit_bytes: int, *, level_start: int = LEVEL_START) -> Plateau:
    """What experiments compare it with: the most from start to end."""
    return Fixed(level_max)


def controller(*, seeking: bool) -> Controller:
    """By `TransferSettings.seeking`."""
    return chosen if seeking else fixed
