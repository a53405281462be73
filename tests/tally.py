"""What the sweeps and fuzzers ran, shown at the end of the test run: counts, seeds, seconds. A pytest plugin."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

LONG = 10 if os.environ.get("BENTOSYNC_TEST_LONG") else 1
"""How many times as much is run; `scripts/test --long` sets it."""

Count = Callable[..., None]
_ROWS = pytest.StashKey[list[str]]()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Note one line of the summary: `count("kill -9", points=63, seed=1, seconds=3.2)`."""

    def note(what: str, *, seconds: float, **counts: Any) -> None:
        told = ", ".join(f"{name} {value}" for name, value in counts.items())
        request.config.stash.setdefault(_ROWS, []).append(f"{what}: {told}, {seconds:.1f} s")

    return note


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of this run: `BENTOSYNC_TEST_SEED`, else a new one, so that every run tries other points."""
    given = os.environ.get("BENTOSYNC_TEST_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 31)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its rows to the run that started it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["tally"] = session.config.stash.get(_ROWS, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the rows of a worker."""
    rows = getattr(node, "workeroutput", {}).get("tally", [])
    node.config.stash.setdefault(_ROWS, []).extend(rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if rows:
        terminalreporter.section("sweeps, properties and fuzzers")
        for row in rows:
            terminalreporter.write_line(row)


def skip_or_fail(reason: str) -> NoReturn:
    """Something this machine lacks: a loud skip, and a failure where everything must be there."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"under CI nothing may be missing: {reason}")
    pytest.skip(reason)
