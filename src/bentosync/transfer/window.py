"""What a transfer counted, and what one level of concurrency gave between two counts."""

from __future__ import annotations

import math

from msgspec import Struct

_BROKEN_MIN = 3
_BROKEN_SHARE_MIN = 0.2


class Seen(Struct, frozen=True):
    """Cumulative counts: bytes, requests, those answered with "slow down", and those whose connection broke.

    `flowing` is not cumulative: streams in flight that have brought bytes.
    """

    moved_bytes: float = 0.0
    requests: int = 0
    refused: int = 0
    broken: int = 0
    flowing: int = 0


class Window(Struct, frozen=True):
    """What one level gave."""

    level: int
    rate: float
    requests: int
    refused: int
    broken: int

    @property
    def share(self) -> float:
        """Of the requests, those that were refused. A line breaks now and then; only many breaks are a refusal."""
        broken = self.broken if self.broken >= _BROKEN_MIN and self.broken > self.requests * _BROKEN_SHARE_MIN else 0
        return (self.refused + broken) / max(1, self.requests)

    def apart(self, other: Window) -> float:
        """By how many standard deviations the share of refusals is above the other's."""
        count, others = max(1, self.requests), max(1, other.requests)
        pooled = (self.share * count + other.share * others) / (count + others)
        deviation = math.sqrt(max(pooled * (1 - pooled), 1e-6) * (1 / count + 1 / others))
        return (self.share - other.share) / deviation
