"""The account: monotone, and rates that mean something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bentosync import events
from bentosync.cli.progress.account import Account
from tests.cli.progress.story import MIB, TAG, Clock, progress, started


@given(st.lists(st.integers(0, 100 * MIB), min_size=1))
def test_done_never_shrinks_whatever_the_events_say(figures: list[int]) -> None:
    account = Account(Clock())
    account.see(started())
    seen = 0
    for figure in figures:
        account.see(progress(figure))
        assert account.snapshot().done_bytes >= seen
        seen = account.snapshot().done_bytes
    assert seen == max(figures)


def test_reused_bytes_start_the_bar_and_do_not_inflate_the_rate() -> None:
    clock = Clock()
    account = Account(clock)
    account.see(started(reused=60 * MIB))
    clock.now += 2
    account.see(progress(80 * MIB))
    at = account.snapshot()
    assert (at.done_bytes, at.percent, at.bytes_per_second, at.eta_seconds) == (80 * MIB, 80, 10 * MIB, 2.0)


def test_the_rate_looks_back_ten_seconds() -> None:
    clock = Clock()
    account = Account(clock)
    account.see(started(total=1000 * MIB))
    for second in range(1, 31):
        clock.now += 1
        account.see(progress(min(second, 10) * 50 * MIB + max(0, second - 10) * MIB, total=1000 * MIB))
    assert account.snapshot().bytes_per_second == MIB


def test_a_stall_shows_as_a_falling_rate() -> None:
    clock = Clock()
    account = Account(clock)
    account.see(started())
    clock.now += 1
    account.see(progress(10 * MIB))
    fast = account.snapshot().bytes_per_second
    clock.now += 9
    assert account.snapshot().bytes_per_second == fast / 10


def test_at_most_four_files_are_active_and_done_ones_leave() -> None:
    account = Account(Clock())
    account.see(started())
    for index in range(6):
        account.see(progress(index + 1, f"f{index}", 1))
    account.see(events.FileDone("pull", TAG, "f0", 1))
    account.see(progress(8, "f0", 1))
    at = account.snapshot()
    assert [active.path for active in at.active] == ["f1", "f2", "f3", "f4"]
    assert at.files_done == 1


def test_retries_and_warnings_are_counted() -> None:
    account = Account(Clock())
    account.see(started())
    account.see(events.Retried("GET x", "reset", 1, 0.1))
    account.see(events.Warned("careful"))
    assert (account.snapshot().retries, account.warnings) == (1, ["careful"])


def test_percent_is_100_only_at_the_end_and_for_an_empty_model() -> None:
    account = Account(Clock())
    account.see(started())
    account.see(progress(100 * MIB - 1))
    assert account.snapshot().percent == 99
    account.see(started(total=0))
    assert account.snapshot().percent == 100
