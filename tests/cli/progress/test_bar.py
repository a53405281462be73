"""The bars, as a terminal emulator sees them."""

from __future__ import annotations

import io
import os

import pyte
import pytest

from bentosync import events
from bentosync.cli.progress.bar import BarView
from tests.cli.progress.story import MIB, TAG, Clock, progress, run, started


class Terminal(io.StringIO):
    """A screen of 100 columns that tqdm takes for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = pyte.Screen(100, 12)
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> int:
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "12")


def view_on(terminal: Terminal, clock: Clock) -> BarView:
    return BarView(terminal, lambda text: print(text, file=terminal), clock)


@pytest.mark.usefixtures("columns")
def test_the_end_screen_is_clean() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    run(view, clock, seconds=20, steps=200)
    view.close()
    assert terminal.lines == ["Pulling m:v1 from file:///nas   4 files, 100 MiB"]


@pytest.mark.usefixtures("columns")
def test_one_total_bar_and_a_bar_per_active_file() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    view(started())
    clock.now += 1
    view(progress(20 * MIB, "one.safetensors", 5 * MIB))
    clock.now += 1
    view(progress(40 * MIB, "two.safetensors", 20 * MIB))
    lines = terminal.lines
    assert "40%  40.0/100.0 MiB  20.0 MiB/s  eta 3.0s   0/4 files" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == ["one.safetensors", "two.safetensors"]
    assert lines[3].endswith("20.0/100.0 MiB")
    view.close()


@pytest.mark.usefixtures("columns")
def test_never_more_than_four_file_bars() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    view(started(files=9))
    for index in range(9):
        clock.now += 1
        view(progress((index + 1) * MIB, f"file-{index}", MIB))
    assert len([line for line in terminal.lines if line.strip().startswith("file-")]) == 4
    view.close()
    assert len(terminal.lines) == 1


@pytest.mark.usefixtures("columns")
def test_a_transfer_of_less_than_half_a_second_shows_no_bar() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    run(view, clock, seconds=0.4, steps=10)
    assert terminal.lines == ["Pulling m:v1 from file:///nas   4 files, 100 MiB"]


@pytest.mark.usefixtures("columns")
def test_the_phase_is_visible_until_the_plan_is_known() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    view(events.Phase("pull", TAG, "resolve"))
    assert terminal.lines == ["resolve m:v1 …"]
    view.close()
    assert terminal.lines == []


@pytest.mark.usefixtures("columns")
def test_a_transfer_that_stalls_at_once_still_gets_its_bar() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    view(started())
    view(progress(20 * MIB, "one"))
    clock.now += 1
    view.tick()
    assert "20%" in terminal.lines[1]
    view.close()


@pytest.mark.usefixtures("columns")
def test_a_warning_stands_above_the_bars() -> None:
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    view(started())
    clock.now += 1
    view(progress(20 * MIB, "one"))
    view(events.Warned("odd"))
    clock.now += 1
    view(progress(30 * MIB, "one"))
    view.close()
    assert terminal.lines == ["Pulling m:v1 from file:///nas   4 files, 100 MiB", "warning: odd"]


def test_a_narrow_terminal_loses_the_file_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal, clock = Terminal(), Clock()
    view = view_on(terminal, clock)
    view(started())
    clock.now += 1
    view(progress(20 * MIB, "one"))
    assert not any("one" in line for line in terminal.lines)
    assert os.environ["COLUMNS"] == "60"
    view.close()
