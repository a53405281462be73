"""Reading goes on behind what arrived, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bentosync import events
from bentosync.errors import AuthError, NetworkError
from bentosync.exchange.external.patience import Patience, resumed
from bentosync.remote.retrying import RetryPolicy

DATA = bytes(range(200))


class Line:
    """Delivers `DATA` in tens, and breaks where it is told to; `starts` are the offsets that were asked for."""

    def __init__(self, *breaks: int, error: type[Exception] | None = NetworkError) -> None:
        self.starts: list[int] = []
        self._breaks = list(breaks)
        self._error = error

    def __call__(self, start: int) -> Iterator[bytes]:
        self.starts.append(start)
        for at in range(start, len(DATA), 10):
            if self._breaks and at >= self._breaks[0]:
                self._breaks.pop(0)
                if self._error is None:
                    return
                raise self._error("broken")
            yield DATA[at : at + 10]


def patient(attempts: int = 3) -> tuple[Patience, list[float], list[events.Event]]:
    slept: list[float] = []
    seen: list[events.Event] = []
    policy = RetryPolicy(attempts=attempts, base_seconds=1.0, cap_seconds=4.0)
    return Patience(policy, seen.append, slept.append, lambda: 1.0), slept, seen


@pytest.mark.parametrize("error", [NetworkError, None], ids=["raised", "ended early"])
def test_every_byte_comes_once_however_often_the_line_breaks(error: type[Exception] | None) -> None:
    line = Line(50, 50, 120, 190, error=error)
    patience, slept, seen = patient()
    assert b"".join(resumed(line, "x", len(DATA), patience)) == DATA
    assert line.starts == [0, 50, 50, 120, 190]
    assert slept == [1.0, 2.0, 1.0, 1.0], "what arrives in between begins the count anew"
    assert len([event for event in seen if isinstance(event, events.Retried)]) == 4


def test_a_line_that_brings_nothing_is_given_up_after_the_attempts_of_the_policy() -> None:
    line = Line(*[50] * 99)
    patience, slept, _ = patient(attempts=4)
    with pytest.raises(NetworkError):
        list(resumed(line, "x", len(DATA), patience))
    assert (line.starts, slept) == ([0, 50, 50, 50, 50][: len(line.starts)], [1.0, 2.0, 4.0])


def test_a_refusal_is_not_tried_again() -> None:
    line = Line(50, error=AuthError)
    with pytest.raises(AuthError):
        list(resumed(line, "x", len(DATA), patient()[0]))
    assert line.starts == [0]


def test_a_file_that_is_longer_than_it_said_is_refused() -> None:
    with pytest.raises(NetworkError, match="more than the 150 bytes"):
        list(resumed(Line(), "x", 150, patient()[0]))


def test_a_file_of_unknown_size_is_read_to_its_end_and_not_resumed() -> None:
    assert b"".join(resumed(Line(), "x", -1, patient()[0])) == DATA
    line = Line(50)
    with pytest.raises(NetworkError):
        list(resumed(line, "x", -1, patient()[0]))
    assert line.starts == [0]


def test_an_empty_file_asks_for_nothing() -> None:
    line = Line()
    assert list(resumed(line, "x", 0, patient()[0])) == []
    assert line.starts == []
