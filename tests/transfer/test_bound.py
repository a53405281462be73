from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.events import Report
from bentosync.transfer.bound import Span, report
from bentosync.transfer.meter import Meter

GB = 10**9


def judged(meter: Meter | None = None, *, to_disk: bool = False, moved: int = 10 * GB, **span: float) -> Report:
    took = {"seconds": 10.0, "cpu_seconds": 2.0, "loop_cpu_seconds": 1.0, "cpus": 8} | span
    return report(meter or Meter(), Span(**took), moved_bytes=moved, to_disk=to_disk)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("meter", "span", "verdict"),
    [
        (Meter(), {}, "network"),
        (Meter(), {"loop_cpu_seconds": 8.5}, "cpu"),
        (Meter(), {"cpu_seconds": 70.0}, "cpu"),
        (Meter(disk_seconds=6.0, disk_cpu_seconds=1.0), {}, "disk"),
        (Meter(disk_seconds=6.0, disk_cpu_seconds=5.5), {}, "network"),
        (Meter(), {"sync_seconds": 5.0}, "disk"),
        (Meter(busy_seconds=40.0, paused_seconds=20.0), {}, "server"),
        (Meter(held_seconds=4.0), {}, "server"),
        (Meter(limit_bytes_per_second=GB), {}, "limit"),
        (Meter(limit_bytes_per_second=2 * GB), {}, "network"),
        # Several at once: what can be chosen comes before what can be bought.
        (Meter(limit_bytes_per_second=GB, held_seconds=9.0), {"loop_cpu_seconds": 9.0}, "limit"),
        (Meter(held_seconds=9.0, disk_seconds=9.0), {"loop_cpu_seconds": 9.0}, "server"),
        (Meter(disk_seconds=9.0), {"loop_cpu_seconds": 9.0}, "disk"),
    ],
)
def test_the_verdict_follows_the_shares(meter: Meter, span: dict[str, float], verdict: str) -> None:
    assert judged(meter, **span).bound_by == verdict


def test_what_waits_for_a_folder_waits_for_its_disk() -> None:
    assert judged(to_disk=True).bound_by == "disk"
    assert judged(to_disk=True, loop_cpu_seconds=9.0).bound_by == "cpu"


def test_nothing_moved_is_bound_by_nothing() -> None:
    assert judged(moved=0, loop_cpu_seconds=9.0).bound_by == "none"


AMOUNTS = st.floats(0, 1e6)


@given(
    st.builds(
        Meter, busy_seconds=AMOUNTS, paused_seconds=AMOUNTS, held_seconds=AMOUNTS, disk_seconds=AMOUNTS,
        disk_cpu_seconds=AMOUNTS, hash_seconds=AMOUNTS, limit_bytes_per_second=st.none() | st.integers(1, GB),
    ),
    st.builds(Span, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(1, 256), AMOUNTS),
    st.integers(0, 10**15),
)  # fmt: skip
def test_shares_are_shares_whatever_was_measured(meter: Meter, span: Span, moved: int) -> None:
    told = report(meter, span, moved_bytes=moved)
    shares = [told.network_share, told.disk_share, told.hash_share, told.cpu_share, told.server_share, told.limit_share]
    assert all(0 <= share <= 1 for share in shares)


def test_counts_are_the_meters() -> None:
    meter = Meter(requests=9, throttled=2, restarts=3, splits=4, hedges=5, hedged_bytes=6)
    meter.at_level(7)
    meter.at_level(1)
    told = judged(meter)
    assert (told.requests, told.throttled, told.restarts, told.splits, told.hedges) == (9, 2, 3, 4, 5)
    assert (told.hedged_bytes, told.streams_most, told.bytes_per_second) == (6, 7, GB)
