"""The views without a terminal: plain lines, JSON lines, silence, and the choice among them."""

from __future__ import annotations

import json

import pytest

from bentosync import events
from bentosync.cli.progress.choose import mode_for
from bentosync.cli.progress.jsonlines import NAMES, JsonView
from bentosync.cli.progress.plain import PlainView
from bentosync.cli.progress.silent import SilentView
from bentosync.cli.progress.view import opening
from bentosync.settings import TerminalSettings
from tests.cli.progress.story import MIB, TAG, Clock, progress, run, started


def test_plain_is_one_line_to_begin_and_one_per_ten_seconds() -> None:
    said: list[str] = []
    clock = Clock()
    run(PlainView(said.append, clock), clock, seconds=35, steps=140)
    assert said == [
        "Pulling m:v1 from file:///nas   4 files, 100 MiB",
        "pull m:v1 28% 28.6/100.0MiB 2.86MiB/s eta=25.0s files=0/4 retries=0",
        "pull m:v1 57% 57.1/100.0MiB 2.86MiB/s eta=15.0s files=0/4 retries=0",
        "pull m:v1 85% 85.7/100.0MiB 2.86MiB/s eta=5.0s files=0/4 retries=0",
    ]


def test_a_stall_still_gets_its_line_every_ten_seconds() -> None:
    said: list[str] = []
    clock = Clock()
    view = PlainView(said.append, clock)
    view.tick()
    view(started())
    for _ in range(50):
        clock.now += 0.5
        view.tick()
    assert [line.split()[2] for line in said[1:]] == ["0%", "0%"]


def test_plain_never_moves_the_cursor() -> None:
    said: list[str] = []
    clock = Clock()
    run(PlainView(said.append, clock), clock, seconds=500, steps=1000)
    assert not any(character in line for line in said for character in "\r\x1b\b")


def test_plain_says_nothing_of_a_pull_that_has_everything() -> None:
    said: list[str] = []
    PlainView(said.append, Clock())(started(reused=100 * MIB))
    assert said == []


def test_warnings_come_with_what_to_try_and_waiting_is_said() -> None:
    said: list[str] = []
    view = PlainView(said.append, Clock())
    view(events.Warned("odd", hint="do this"))
    view(events.Waiting(TAG, "pid 7"))
    assert said == ["warning: odd\n  try: do this", "Waiting for another process that works on m:v1 (pid 7)"]


def test_every_retry_is_said_the_first_one_too() -> None:
    said: list[str] = []
    view = PlainView(said.append, Clock())
    for attempt in (1, 2):
        view(events.Retried("GET k", "connection reset", attempt, 0.25))
    assert said == [f" ! GET k: connection reset; try {attempt} in 0.25s" for attempt in (2, 3)]


def test_json_lines_are_complete_and_progress_is_bounded_to_four_per_second() -> None:
    said: list[str] = []
    clock = Clock()
    run(JsonView(said.append, clock), clock, seconds=10, steps=1000)
    lines = [json.loads(line) for line in said]
    assert {line["v"] for line in lines} == {1}
    assert [line["event"] for line in lines if line["event"] != "progress"] == ["phase", "start", "done"]
    shown = [line for line in lines if line["event"] == "progress"]
    assert 36 <= len(shown) <= 41
    assert shown[-1]["done_bytes"] == 100 * MIB
    assert lines[-1]["moved_bytes"] == 100 * MIB


def test_every_kind_of_event_has_a_name_in_json() -> None:
    assert set(NAMES) == set(events.Event.__args__)


def test_silence_still_warns() -> None:
    said: list[str] = []
    clock = Clock()
    view = SilentView(said.append, clock)
    run(view, clock, seconds=60, steps=60)
    view(events.Warned("odd"))
    assert said == ["warning: odd"]


def test_where_it_stopped_is_known_once_the_plan_is() -> None:
    view = SilentView(lambda text: None, Clock())
    assert view.paused_at is None
    view(started())
    view(progress(62 * MIB))
    assert view.paused_at == "62.0/100.0 MiB"


@pytest.mark.parametrize(
    ("asked", "quiet", "is_terminal", "environment", "mode"),
    [
        ("auto", False, True, TerminalSettings(), "bar"),
        ("auto", False, False, TerminalSettings(), "plain"),
        ("auto", False, True, TerminalSettings(ci=True), "plain"),
        ("auto", False, True, TerminalSettings(dumb=True), "plain"),
        ("auto", True, True, TerminalSettings(), "none"),
        ("json", True, True, TerminalSettings(), "json"),
        ("bar", False, False, TerminalSettings(ci=True), "bar"),
    ],
)
def test_the_mode_follows_the_request_then_the_terminal(asked, quiet, is_terminal, environment, mode) -> None:
    assert mode_for(asked, quiet=quiet, is_terminal=is_terminal, environment=environment) == mode


def test_a_number_of_files_that_nobody_knows_yet_is_not_called_zero() -> None:
    begun = events.Started("import", "m:v1", "m.bentomodel", 0, 4 << 20, 0)
    assert opening(begun) == "Importing m:v1 from m.bentomodel   4.00 MiB"
