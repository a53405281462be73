"""What one operation has done so far: plain counters that the hot path can afford, read by whoever decides or reports.

Belongs to one event loop's thread. Seconds are those of `time.perf_counter`; a unit of a mebibyte costs three readings.
"""

from __future__ import annotations

from msgspec import Struct


class Meter(Struct):
    """Counts since the operation began.

    `requests` counts tries of ranges and parts; of these, `throttled` were answered with "slow down", and the
    connection of `broken` ones broke.
    `restarts` are streams that were given up because they stalled or dripped, `splits` ranges of which an idle stream
    took the rest, `hedges` units that were asked for twice, at a cost of `hedged_bytes` that came for nothing.
    `disk_seconds` and `hash_seconds` were spent writing and digesting, on whatever thread, `disk_cpu_seconds` of the
    former not waiting; `paused_seconds` is the time that streams waited between tries because they were told to slow
    down, `held_seconds` that during which there would have been more streams, had they not been refused.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    broken: int = 0
    restarts: int = 0
    splits: int = 0
    hedges: int = 0
    hedged_bytes: int = 0
    limit_bytes_per_second: int | None = None
    level: int = 0
    level_most: int = 0
    busy_seconds: float = 0.0
    paused_seconds: float = 0.0
    held_seconds: float = 0.0
    disk_seconds: float = 0.0
    disk_cpu_seconds: float = 0.0
    hash_seconds: float = 0.0

    def retried(self, code: str, delay_seconds: float) -> None:
        """A request failed with an error of this code and will be tried again after a pause."""
        self.requests += 1
        self.retries += 1
        if code == "THROTTLED":
            self.throttled += 1
            self.paused_seconds += delay_seconds
        self.broken += code == "NETWORK"

    def at_level(self, level: int) -> None:
        """So many streams are allowed from now on."""
        self.level = level
        self.level_most = max(self.level_most, level)
