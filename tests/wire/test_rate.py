from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.wire.rate import Bucket


@given(
    st.floats(1e3, 1e9),
    st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0, 0.05)), min_size=50, max_size=200),
)
def test_no_window_passes_more_than_the_rate_a_tenth_of_a_second_and_one_piece(
    rate: float, pieces: list[tuple[int, float]]
) -> None:
    bucket, now = Bucket(rate), 0.0
    passed: list[tuple[float, int]] = []
    for count, pause in pieces:
        passed.append((now, count))
        now += bucket.passed(count, now) + pause
    largest = max(count for count, _ in pieces)
    for first, (begin, _) in enumerate(passed):
        total = 0
        for at, count in passed[first:]:
            total += count
            assert total <= rate * (at - begin + 0.1) * (1 + 1e-9) + largest + 1


@pytest.mark.parametrize("rate", [1e4, 5e6, 1e9])
@pytest.mark.parametrize("streams", [1, 7])
def test_a_long_transfer_takes_the_time_that_the_rate_says(rate: float, streams: int) -> None:
    bucket, piece = Bucket(rate), int(rate / 50)
    ready = [0.0] * streams
    count = 2000
    for _ in range(count):
        ready.sort()
        now = ready[0]
        ready[0] = now + bucket.passed(piece, now) + piece / (10 * rate)  # the line itself is ten times as fast
    assert max(ready) == pytest.approx(count * piece / rate, rel=0.02, abs=0.2)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    bucket = Bucket(1000.0)
    bucket.passed(100, 0.0)
    assert bucket.passed(100, 3600.0) == 0.0
    assert bucket.passed(1000, 3600.0) == pytest.approx(1.0)
