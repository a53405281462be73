"""A process killed at any file-system call leaves every version whole, and the same command finishes the work."""

from __future__ import annotations

import time

import pytest

from tests.sweeps.operations import OPERATIONS
from tests.sweeps.pool import Pool
from tests.sweeps.shim import Mode
from tests.sweeps.worker import Task
from tests.tally import LONG, Count

POINTS_MIN = 2000
pytestmark = pytest.mark.timeout(300 * LONG)


@pytest.fixture(scope="module")
def swept() -> dict[str, int]:
    """Points by operation, to be summed up at the end."""
    return {}


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_call_nothing_is_lost_and_the_same_command_goes_on(
    pool: Pool, swept: dict[str, int], seed: int, count: Count, name: str
) -> None:
    work = OPERATIONS[name]
    began = time.monotonic()
    points = 0
    for turn in range(work.turns * LONG):
        for mode in (Mode.KILL, Mode.TEAR):
            result = pool.sweep(Task(name, mode, seed=seed + turn, points_max=work.points_max))
            assert not result.failures, "\n".join(result.failures)
            points += result.points
    assert points
    swept[name] = points
    count(f"kill -9, {name}", points=points, seed=seed, seconds=time.monotonic() - began)


def test_the_kills_were_many(swept: dict[str, int], count: Count) -> None:
    if set(swept) < set(OPERATIONS):
        pytest.skip("not every operation was swept")
    count("kill -9, all", points=sum(swept.values()), seconds=0)
    assert sum(swept.values()) >= POINTS_MIN * LONG
