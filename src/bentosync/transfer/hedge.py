"""What to do about streams that are slower than they should be: a pure decision over what each has done lately.

While there is other work, a stream that has gone quiet, or moves at less than a tenth of what its siblings do, is given
up: its range goes back to the queue, and a new connection may find a better way. When nothing is left to begin, idle
streams help the last ones: they take over the far end of the range that would end last, sized so that both end
together; and if it has come down to a single unit, they fetch that unit once more (a hedge). Who proves a unit first
has won. Only hedges cost bytes twice, and they have a budget.

A stream that drips (less than a kibibyte a second for half a minute) is given up whatever the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace


class Patience(Struct, frozen=True):
    """When a stream counts as slow. Times in seconds."""

    young_seconds: float = 0.5
    quiet_seconds: float = 5.0
    slow_seconds: float = 3.0
    stuck_seconds: float = 0.6
    slow_share: float = 0.1
    drip_bytes_per_second: float = 1024.0
    drip_seconds: float = 30.0
    setup_seconds: float = 0.15
    gain_seconds: float = 0.25
    hedge_factor: float = 3.0


class Flow(Struct, frozen=True):
    """One stream as it is now.

    Args:
        left_bytes: From the first byte that is not proven to the end of its range.
        unit_bytes: Of those, what must arrive together.
        rate: Bytes a second, lately.
        age_seconds: Since its request was sent.
        quiet_seconds: Since its last byte.
        restarts: How often this range was given up already without a unit of progress.
        hedged: Whether its unit is being fetched twice, or it is such a second try itself.
    """

    left_bytes: int
    unit_bytes: int
    rate: float
    age_seconds: float
    quiet_seconds: float
    restarts: int = 0
    hedged: bool = False

    @property
    def eta_seconds(self) -> float:
        """When it will be done at its rate."""
        return self.left_bytes / max(self.rate, 1e-3)


class Restart(Struct, frozen=True):
    """Give the stream with this index up, and put the rest of its range back."""

    index: int


class Split(Struct, frozen=True):
    """The stream with this index keeps `keep_bytes` (whole units); an idle one takes the rest."""

    index: int
    keep_bytes: int


class Hedge(Struct, frozen=True):
    """Fetch the unit that the stream with this index works on a second time."""

    index: int


Rescue: TypeAlias = Restart | Split | Hedge

_RELATIVE_RESTARTS_MAX = 2  # after that it is the object that is slow, not the way to it


def rescue(
    flows: Sequence[Flow], *, idle: int, waiting: bool, typical_rate: float, hedge_bytes: int, patience: Patience
) -> list[Rescue]:
    """What to do now, at most one thing for a stream.

    Args:
        flows: Every stream in flight.
        idle: Streams that may be begun besides.
        waiting: Whether there are ranges that nobody has begun.
        typical_rate: What one stream usually moves, in bytes a second; 0 if that is not known.
        hedge_bytes: How many bytes may still be asked for twice.
        patience: When slow is too slow.
    """
    done: list[Rescue] = [
        Restart(index)
        for index, flow in enumerate(flows)
        if _is_lost(flow, _usual(flows, index, typical_rate), patience, helped=idle > 0 and not waiting)
    ]
    if waiting or idle <= 0:
        return done
    given_up = {action.index for action in done}
    slowest = sorted(
        (index for index in range(len(flows)) if index not in given_up), key=lambda index: -flows[index].eta_seconds
    )
    for index in slowest[:idle]:
        usual = _usual(flows, index, typical_rate)
        help_ = _help(index, flows[index], usual, hedge_bytes, patience)
        if isinstance(help_, Hedge):
            hedge_bytes -= flows[index].unit_bytes
        if help_ is not None:
            done.append(help_)
    return done


def _usual(flows: Sequence[Flow], index: int, typical_rate: float) -> float:
    """What a new stream would move in the place of this one."""
    others = [flow.rate for at, flow in enumerate(flows) if at != index and flow.age_seconds > 0.5]
    return max(_median(others), typical_rate) if others else typical_rate


def _median(rates: list[float]) -> float:
    # Not that of `statistics`, which imports fractions and decimals.
    ordered, middle = sorted(rates), len(rates) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def _is_lost(flow: Flow, usual: float, patience: Patience, *, helped: bool) -> bool:
    """Whether to give it up. A slow stream that idle ones can help need not be."""
    if flow.age_seconds >= patience.drip_seconds and flow.rate < patience.drip_bytes_per_second:
        return True
    if usual <= 0 or flow.hedged or flow.restarts >= _RELATIVE_RESTARTS_MAX:
        return False
    # Where bytes are counted unit by unit, a stream is quiet between units.
    pause = 5 * flow.unit_bytes / usual
    slow = flow.rate < usual * patience.slow_share and flow.eta_seconds > patience.stuck_seconds and not helped
    return flow.quiet_seconds >= max(patience.quiet_seconds, pause) or (
        slow and flow.age_seconds >= max(patience.slow_seconds, pause)
    )


def _help(index: int, flow: Flow, usual: float, hedge_bytes: int, patience: Patience) -> Rescue | None:
    if usual <= 0 or flow.age_seconds < patience.young_seconds:
        return None
    if flow.quiet_seconds >= max(patience.stuck_seconds, 5 * flow.unit_bytes / usual):
        flow = replace(flow, rate=0.0)  # what it was lately says nothing any more
    beyond = flow.left_bytes - flow.unit_bytes
    if beyond > 0:
        units = flow.left_bytes // flow.unit_bytes
        keep = max(
            1, min(round(units * flow.rate / (flow.rate + usual)), units - (flow.left_bytes % flow.unit_bytes == 0))
        )
        keep_bytes = keep * flow.unit_bytes
        after = max(keep_bytes / max(flow.rate, 1e-3), patience.setup_seconds + (flow.left_bytes - keep_bytes) / usual)
        # A stream that is stuck keeps one unit, which is then hedged: what is beyond must not wait for that.
        stuck = keep == 1 and flow.eta_seconds > 1e3
        if flow.eta_seconds - after >= patience.gain_seconds or stuck:
            return Split(index, keep_bytes)
    if flow.hedged or hedge_bytes < flow.unit_bytes:
        return None
    again = patience.setup_seconds + flow.unit_bytes / usual
    unit_eta = flow.unit_bytes / max(flow.rate, 1e-3)
    return Hedge(index) if unit_eta > patience.hedge_factor * again + patience.gain_seconds else None
