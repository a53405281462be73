"""Ctrl-C and SIGTERM at any file-system call of the command line: an orderly end, and the same command goes on."""

from __future__ import annotations

import signal
import time

import pytest

from tests.sweeps.operations import OPERATIONS
from tests.sweeps.pool import Pool
from tests.sweeps.shim import Mode
from tests.sweeps.worker import Task
from tests.tally import LONG, Count

POINTS = 4
"""Of one operation and signal; what the signal finds the process doing differs little from call to call."""
COMMANDS = [name for name, work in OPERATIONS.items() if work.command and work.exchanges and not work.resumed]
pytestmark = pytest.mark.timeout(300 * LONG)


@pytest.mark.parametrize("name", COMMANDS)
def test_stopped_at_any_call_it_ends_at_once_and_the_same_command_goes_on(
    pool: Pool, seed: int, count: Count, name: str
) -> None:
    began = time.monotonic()
    points, slowest = 0, 0.0
    for signum in (signal.SIGINT, signal.SIGTERM):
        result = pool.sweep(Task(name, Mode.SIGNAL, signum, seed=seed, points_max=POINTS * LONG))
        assert not result.failures, "\n".join(result.failures)
        points += result.points
        slowest = max(slowest, result.slowest)
    assert points
    seconds = time.monotonic() - began
    count(f"SIGINT, SIGTERM, {name}", points=points, seed=seed, slowest_seconds=round(slowest, 2), seconds=seconds)
