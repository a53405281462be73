"""Numbers for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bentosync.cli import amounts, table


@pytest.mark.parametrize(
    ("size", "exact", "brief"),
    [
        (0, "0.00 B", "0 B"),
        (1023, "1023.00 B", "1023 B"),
        (1024, "1.00 KiB", "1.00 KiB"),
        (2396, "2.34 KiB", "2.34 KiB"),
        (17 << 20, "17.00 MiB", "17.0 MiB"),
        (512 << 20, "512.00 MiB", "512 MiB"),
        (1 << 60, "1024.00 PiB", "1024 PiB"),
    ],
)
def test_sizes_have_bentomls_two_decimals_or_three_digits(size: int, exact: str, brief: str) -> None:
    assert (amounts.exact(size), amounts.brief(size)) == (exact, brief)


def test_a_ratio_is_in_the_unit_of_the_total() -> None:
    assert amounts.ratio(512 << 20, 16 << 30) == "0.5/16.0 GiB"
    assert amounts.ratio(3, 10) == "3/10 B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.042, "0.04s"), (7.14, "7.1s"), (59.94, "59.9s"), (185, "3m05s"), (3600, "1h00m"), (7810, "2h10m")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert amounts.duration(seconds) == text


def test_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 22, 6, 48, 3, tzinfo=UTC)
    assert amounts.local_time(moment) == moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def test_nouns_agree_with_their_number() -> None:
    assert (amounts.plural(1, "file"), amounts.plural(0, "file")) == ("1 file", "0 files")


def test_a_table_never_cuts_and_has_no_trailing_blanks() -> None:
    long = "x" * 300
    assert table.lines(("A", "Bee"), [(long, "1"), ("y", "")]) == [f"A{' ' * 299}  Bee", f"{long}  1", "y"]
