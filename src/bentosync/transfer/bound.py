"""What bound a transfer: the share of its time that went into each suspect, and the verdict, as pure functions."""

from __future__ import annotations

from msgspec import Struct

from bentosync.events import BoundBy, Report
from bentosync.transfer.meter import Meter

_LIMIT_SHARE = 0.85
_SERVER_SHARE = 0.3
_DISK_SHARE = 0.4
_CPU_SHARE = 0.8


class Span(Struct, frozen=True):
    """The time from the plan to the end.

    Args:
        seconds: By a steady clock.
        cpu_seconds: Of the process.
        loop_cpu_seconds: Of these, of the thread that runs the event loop.
        cpus: How many CPUs the process may use.
        sync_seconds: Of `seconds`, at the end, for making what was written durable.
    """

    seconds: float
    cpu_seconds: float
    loop_cpu_seconds: float
    cpus: int
    sync_seconds: float = 0.0


def report(meter: Meter, span: Span, *, moved_bytes: int, to_disk: bool = False) -> Report:
    """The report of a transfer that moved so much; `to_disk` if what it waited for is a folder and no network."""
    seconds = max(span.seconds, 1e-9)
    rate = moved_bytes / seconds
    limit = meter.limit_bytes_per_second
    disk = (meter.disk_seconds - meter.disk_cpu_seconds + span.sync_seconds) / seconds
    held = meter.held_seconds / seconds
    paused = meter.paused_seconds / meter.busy_seconds if meter.busy_seconds > 0 else 0.0
    shares = {
        "network_share": 1 - (span.loop_cpu_seconds / seconds + disk),
        "disk_share": disk,
        "hash_share": meter.hash_seconds / seconds,
        "cpu_share": max(span.cpu_seconds / (seconds * max(1, span.cpus)), span.loop_cpu_seconds / seconds),
        "server_share": max(paused, held),
        "limit_share": rate / limit if limit else 0.0,
    }
    shares = {name: round(min(1.0, max(0.0, share)), 3) for name, share in shares.items()}
    return Report(
        bound_by=_verdict(shares, "disk" if to_disk else "network") if moved_bytes else "none",
        bytes_per_second=rate,
        requests=meter.requests,
        throttled=meter.throttled,
        restarts=meter.restarts,
        splits=meter.splits,
        hedges=meter.hedges,
        hedged_bytes=meter.hedged_bytes,
        streams_most=meter.level_most,
        cpu_seconds=round(span.cpu_seconds, 3),
        **shares,
    )


def _verdict(shares: dict[str, float], otherwise: BoundBy) -> BoundBy:
    """What can be chosen comes before what can be bought."""
    if shares["limit_share"] >= _LIMIT_SHARE:
        return "limit"
    if shares["server_share"] >= _SERVER_SHARE:
        return "server"
    if shares["disk_share"] >= _DISK_SHARE:
        return "disk"
    return "cpu" if shares["cpu_share"] >= _CPU_SHARE else otherwise
